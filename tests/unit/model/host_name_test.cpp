#include "src/model/host_name.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>

using namespace cleanroom;
using model::HostName;

namespace {

std::string canonical(std::string_view text) {
  const auto host = HostName::parse(text);
  if (!host) return "invalid";
  return (host->is_ip() ? "ip " : "name ") + host->text();
}

}  // namespace

TEST_SUITE("host_name") {
  TEST_CASE("EGR-05 every spelling of an IPv4 address is that address or refused, never a name") {
    for (const auto* spelling :
         {"127.1", "0x7f.1", "0177.0.0.1", "2130706433", "017700000001", "127.0.0.1.", "0x7f000001", "0X7F.0.0.1",
          "127.0.1", "①②⑦.⓪.⓪.①", "127。0。0。1", "１２７．０．０．１", "127｡0｡0｡1", "00000000177.0.0.1"}) {
      CAPTURE(spelling);
      CHECK(canonical(spelling) == "ip 127.0.0.1");
    }
    for (const auto* spelling :
         {"169.254.169.254", "0xa9fea9fe", "2852039166", "169.254.43518", "0251.0376.0251.0376", "①⑥⑨.②⑤④.①⑥⑨.②⑤④"}) {
      CAPTURE(spelling);
      CHECK(canonical(spelling) == "ip 169.254.169.254");
    }
    CHECK(canonical("0") == "ip 0.0.0.0");
    for (const auto* bad : {"127.0.0.1%00", "256.0.0.1", "1.2.3.4.5", "0x", "1.0x", "08.0.0.1", "4294967296", "a.1",
                            "1..2", "127.0.0.1..", "example.com.0x1", "99999999999999999999"}) {
      CAPTURE(bad);
      CHECK(canonical(bad) == "invalid");
    }
  }

  TEST_CASE("EGR-05 whatever inet_aton reads is an address") {
    // Built from the alphabet that matters; inet_aton is the reference.
    const std::string_view parts[] = {"0",  "1",  "127",   "256",        "0x7f", "0177",
                                      "08", "0x", "65536", "4294967295", "a",    ""};
    int addresses = 0;
    for (const auto a : parts)
      for (const auto b : parts)
        for (const auto c : parts)
          for (const auto* shape : {"{0}", "{0}.{1}", "{0}.{1}.{2}", "{0}.{1}.{2}.1"}) {
            const auto text = fmt::format(fmt::runtime(shape), a, b, c);
            in_addr reference{};
            if (::inet_aton(text.c_str(), &reference) == 0) continue;
            ++addresses;
            CAPTURE(text);
            const auto host = HostName::parse(text);
            // glibc reads "0x" as 0; to refuse it is the other allowed answer.
            if (!host) continue;
            CHECK(host->is_ip());
            CHECK(host->text() == inet_ntoa(reference));
          }
    CHECK(addresses > 1000);
  }

  TEST_CASE("EGR-06 every spelling of an IPv6 address is that address or refused") {
    CHECK(canonical("::1") == "ip ::1");
    CHECK(canonical("[::1]") == "ip ::1");
    CHECK(canonical("0:0:0:0:0:0:0:1") == "ip ::1");
    CHECK(canonical("::ffff:127.0.0.1") == "ip 127.0.0.1");
    CHECK(canonical("[::ffff:7f00:1]") == "ip 127.0.0.1");
    CHECK(canonical("64:ff9b::7f00:1") == "ip 64:ff9b::7f00:1");
    for (const auto* bad : {"fe80::1%eth0", "[fe80::1%25eth0]", "[::1", "::1]", "[]", "[127.0.0.1]", "[example.com]",
                            "[::1]:443", "1::2::3", "[::1].", "::1.", "a:b", ":"}) {
      CAPTURE(bad);
      CHECK(canonical(bad) == "invalid");
    }
    CHECK(HostName::parse("::1")->with_port(443) == "[::1]:443");
    CHECK(HostName::parse("127.1")->with_port(80) == "127.0.0.1:80");
  }

  TEST_CASE("EGR-13 a name has one canonical form") {
    for (const auto* spelling :
         {"api.github.com", "API.GitHub.COM", "api.github.com.", "api。github。com", "ａｐｉ.github.com",
          "api.git\u00adhub.com", "api.github.com\u3002", "api.githu\u24b7.com"}) {
      CAPTURE(spelling);
      CHECK(canonical(spelling) == "name api.github.com");
    }
    CHECK(canonical("\u212Aube.test") == "name kube.test");  // KELVIN SIGN
    CHECK(canonical("Bücher.example") == "name xn--bcher-kva.example");
    CHECK(canonical("bu\u0308cher.example") == "name xn--bcher-kva.example");
    CHECK(canonical("xn--bcher-kva.example") == "name xn--bcher-kva.example");
    CHECK(canonical("XN--BCHER-KVA.example.") == "name xn--bcher-kva.example");
    CHECK(canonical("faß.de") == "name xn--fa-hia.de");  // non-transitional: not fass.de
    CHECK(canonical("my_host.example.com") == "name my_host.example.com");
    CHECK(canonical("r3---sn-x.example.com") == "name r3---sn-x.example.com");
    for (const auto* bad : {"api..github.com", "api.github.com..", ".github.com", ".", "a.-b.com", "a.b-.com", "-a.com",
                            "xn--a", "xn--\u00fc.com", "xn--99999999999.com", "xn--api-.com", "a\u200db.com",
                            "a\u2024\u2024b.com", "xn--fass-abcdefghij.de", "\u202egithub.com", "a\uff0fb.com"}) {
      CAPTURE(bad);
      CHECK(canonical(bad) == "invalid");
    }
  }

  TEST_CASE("EGR-15 bytes that no host has are refused, and the message shows them escaped") {
    for (const char c : {'\0', '\r', '\n', '\t', ' ', '#', '?', '@', '/', '\\', '%', '*', '<', '"', '\'', '\x7f',
                         '\x1b', '\x80', '\xff'}) {
      for (const auto& text : {std::string("evil.test") + c + ".github.com", std::string(1, c) + "github.com",
                               std::string("github.com") + c}) {
        CAPTURE(static_cast<int>(c));
        const auto host = HostName::parse(text);
        REQUIRE_FALSE(host.has_value());
        CHECK(host.error().reason == "invalid_host");
        for (const char shown : host.error().message)
          CHECK((shown >= 0x20 && shown < 0x7f));
      }
    }
    CHECK_FALSE(HostName::parse_wire("bücher.example").has_value());
    CHECK_FALSE(HostName::parse_wire("①②⑦.⓪.⓪.①").has_value());
    CHECK(HostName::parse_wire("xn--bcher-kva.example").has_value());
  }

  TEST_CASE("EGR-16 over-long names and labels are refused, never cut") {
    const std::string label63(63, 'a');
    const auto name = [&](std::size_t size) {
      std::string text;
      while (text.size() + 64 < size)
        text += label63 + ".";
      return text + std::string(size - text.size(), 'b');
    };
    CHECK(canonical(label63 + ".test") == "name " + label63 + ".test");
    CHECK(canonical(label63 + "a.test") == "invalid");
    REQUIRE(name(253).size() == 253);
    CHECK(canonical(name(253)) == "name " + name(253));
    CHECK(canonical(name(253) + ".") == "name " + name(253));
    CHECK(canonical(name(254)) == "invalid");
    CHECK(canonical(name(255)) == "invalid");
    CHECK(canonical(std::string(64 << 10, 'a')) == "invalid");
    CHECK(canonical("") == "invalid");
  }

  TEST_CASE("EGR-14 below means one label or more below") {
    const auto example = *HostName::parse("example.com");
    CHECK(HostName::parse("a.example.com")->is_below(example));
    CHECK(HostName::parse("a.b.example.com")->is_below(example));
    CHECK_FALSE(example.is_below(example));
    CHECK_FALSE(HostName::parse("notexample.com")->is_below(example));
    CHECK_FALSE(HostName::parse("example.com.evil.test")->is_below(example));
  }
}
