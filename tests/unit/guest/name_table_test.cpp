#include "guest/name_table.h"

#include "guest/denials.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>

using namespace cleanroom::guest;

TEST_CASE("exact names and suffixes; a suffix is not below itself") {
  NameTable names;
  names.allow({"example.com", "*.ok.test"});
  CHECK(names.allows("example.com"));
  CHECK_FALSE(names.allows("www.example.com"));
  CHECK_FALSE(names.allows("com"));
  CHECK(names.allows("a.ok.test"));
  CHECK(names.allows("b.a.ok.test"));
  CHECK_FALSE(names.allows("ok.test"));
  CHECK_FALSE(names.allows("notok.test"));
  CHECK_FALSE(names.allows(".ok.test"));
  CHECK_FALSE(names.allows("a.ok.test.evil"));
  CHECK_FALSE(names.allows(""));
}

TEST_CASE("a star is every name, but not the root") {
  NameTable names;
  names.allow({"*"});
  CHECK(names.allows("example.com"));
  CHECK(names.allows("host"));
  CHECK_FALSE(names.allows(""));
}

TEST_CASE("an address is stable, its own, and leads back to the name") {
  NameTable names;
  const auto first = names.address_of("a.test");
  const auto second = names.address_of("b.test");
  REQUIRE(first);
  REQUIRE(second);
  CHECK(*first == kFirstNameAddress);
  CHECK(*first != *second);
  CHECK(names.address_of("a.test") == first);
  CHECK(names.name_of(*second) == "b.test");
  CHECK_FALSE(names.name_of(*second + 1));
  CHECK_FALSE(names.name_of(kGuestAddress));
  CHECK_FALSE(names.name_of(0));
}

TEST_CASE("the table has an end, within the range, and old names stay") {
  NameTable names;
  for (std::size_t i = 0; i < kMaxNames; ++i)
    REQUIRE(names.address_of(fmt::format("n{}.test", i)));
  CHECK_FALSE(names.address_of("one-more.test"));
  const auto last = names.address_of(fmt::format("n{}.test", kMaxNames - 1));
  REQUIRE(last);
  const std::uint32_t range = *last >> (32 - kGuestNetworkBits);
  CHECK(range == kGuestNetwork >> (32 - kGuestNetworkBits));
}

TEST_CASE("IPv4 networks are read strictly and masked") {
  const auto network = parse_ipv4_network("10.1.2.3/24");
  REQUIRE(network);
  CHECK(format_ipv4(network->address) == "10.1.2.0");
  CHECK(network->bits == 24);
  CHECK(parse_ipv4_network("10.1.2.3")->bits == 32);
  CHECK(parse_ipv4_network("0.0.0.0/0")->bits == 0);
  for (const auto* bad : {"", "10.1.2", "10.1.2.3/", "10.1.2.3/33", "10.1.2.3/-1", "10.1.2.3/8x", "::1", "a/8"})
    CHECK_FALSE(parse_ipv4_network(bad));
}

TEST_CASE("denials are told once each, up to a limit, in reports of a size that the host takes") {
  Denials denials;
  denials.add("a.test", 0);
  denials.add("a.test", 0);
  denials.add("a.test", 22);
  CHECK(denials.take_report() == "a.test -\na.test 22\n");
  denials.add("a.test", 22);
  CHECK(denials.take_report().empty());
  for (std::size_t i = 2; i < kMaxDenials + 5; ++i)
    denials.add(fmt::format("{}.n{}.test", std::string(200, 'n'), i), 443);
  std::size_t lines = 0;
  for (std::string report; !(report = denials.take_report()).empty();) {
    CHECK(report.size() <= kMaxReport);
    lines += static_cast<std::size_t>(std::count(report.begin(), report.end(), '\n'));
  }
  CHECK(lines == kMaxDenials - 2);
}
