#include "src/model/ip_address.h"

#include <doctest/doctest.h>

using namespace cleanroom;
using model::Cidr;
using model::IpAddress;

TEST_SUITE("ip_address") {
  TEST_CASE("an address has one spelling") {
    CHECK(IpAddress::parse("192.0.2.1")->to_string() == "192.0.2.1");
    CHECK(IpAddress::parse("2001:DB8:0:0::1")->to_string() == "2001:db8::1");
    for (const auto* bad : {"", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.4 ", "+1.2.3.4", "1..2.3",
                            "0x7f.1", "[::1]", "::1%eth0", ":::", "1.2.3.4/8", "::1.2.3", "12345::"}) {
      CAPTURE(bad);
      CHECK_FALSE(IpAddress::parse(bad).has_value());
    }
    CHECK_FALSE(IpAddress::parse(std::string_view("1.2.3.4\0", 8)).has_value());
  }

  TEST_CASE("EGR-06 an IPv4-mapped address is the IPv4 address, others tell what they embed") {
    CHECK(*IpAddress::parse("::ffff:127.0.0.1") == *IpAddress::parse("127.0.0.1"));
    CHECK(*IpAddress::parse("::ffff:7f00:1") == *IpAddress::parse("127.0.0.1"));
    for (const auto* text :
         {"::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2001:0:1:2:3:4:80ff:fffe"}) {
      CAPTURE(text);
      const auto embedded = IpAddress::parse(text)->embedded_v4();
      REQUIRE(embedded.has_value());
      CHECK(embedded->to_string() == "127.0.0.1");
    }
    CHECK_FALSE(IpAddress::parse("2600::1")->embedded_v4().has_value());
    CHECK_FALSE(IpAddress::parse("127.0.0.1")->embedded_v4().has_value());
  }

  TEST_CASE("POL-05 a range has no host bits, a length in range, and is not IPv4-mapped") {
    CHECK(Cidr::parse("10.0.0.0/8")->to_string() == "10.0.0.0/8");
    CHECK(Cidr::parse("fd00::/8")->to_string() == "fd00::/8");
    CHECK(Cidr::parse("10.1.2.3")->to_string() == "10.1.2.3/32");
    for (const auto* bad : {"10.0.0.1/8", "10.0.0.0/33", "fd00::/129", "fd00::1/64", "::ffff:10.0.0.0/104",
                            "::ffff:10.0.0.0", "10.0.0.0/", "10.0.0.0/08", "10.0.0.0/+8", "10.0.0.0/-1", "10.0.0.0/8/8",
                            "/8", "10.0.0.0/8 ", "10.0.0.0/255.0.0.0"}) {
      CAPTURE(bad);
      CHECK_FALSE(Cidr::parse(bad).has_value());
    }
    CHECK(Cidr::parse("10.0.0.1/8").error().message.find("10.0.0.0/8") != std::string::npos);
  }

  TEST_CASE("a range contains its addresses, of its own family") {
    const auto range = *Cidr::parse("10.1.128.0/17");
    CHECK(range.contains(*IpAddress::parse("10.1.128.0")));
    CHECK(range.contains(*IpAddress::parse("10.1.255.255")));
    CHECK_FALSE(range.contains(*IpAddress::parse("10.1.127.255")));
    CHECK_FALSE(range.contains(*IpAddress::parse("10.2.128.0")));
    CHECK(Cidr::parse("0.0.0.0/0")->contains(*IpAddress::parse("255.1.2.3")));
    CHECK_FALSE(Cidr::parse("0.0.0.0/0")->contains(*IpAddress::parse("2600::1")));
    CHECK(Cidr::parse("2600:1::/33")->contains(*IpAddress::parse("2600:1:7fff::1")));
    CHECK_FALSE(Cidr::parse("2600:1::/33")->contains(*IpAddress::parse("2600:1:8000::1")));
  }
}
