#pragma once
// Makes tars and OCI layouts byte by byte, good and bad ones.
#include "src/base/net/sha256.h"
#include "tests/unit/image/image_support.h"

#include <map>
#include <string>
#include <vector>

namespace cleanroom::image::testing {

struct TarEntry {
  std::string name;
  char type = '0';
  std::string content;
  std::string link;
  unsigned mode = 0644;
  unsigned uid = 0;
  unsigned gid = 0;
  std::map<std::string, std::string> pax;
  unsigned major = 0;
  unsigned minor = 0;
};

std::string tar_member(const TarEntry& entry);
std::string tar_of(const std::vector<TarEntry>& entries);  // with the end
std::string gzip(const std::string& text);
std::string zstd(const std::string& text);

struct Blob {
  std::string bytes;
  std::string digest() const { return "sha256:" + base::sha256_hex(bytes); }
  std::string descriptor(const std::string& media_type, const std::string& more = {}) const;
};

// An image with one manifest; every part can be overridden before write().
struct LayoutMaker {
  struct Layer {
    std::string tar;
    std::string blob;  // empty: the tar itself
    std::string media_type = "application/vnd.oci.image.layer.v1.tar";
  };
  std::vector<Layer> layers;
  std::string process =
      R"({"Env":["PATH=/bin","A=b"],"User":"1000","WorkingDir":"/w","Entrypoint":["/e"],"Cmd":["c","d"]})";
  std::string config;    // made when empty
  std::string manifest;  // made when empty
  std::string index;     // made when empty
  std::vector<Blob> more_blobs;

  void make();
  void write(const std::filesystem::path& directory);
  std::string manifest_digest();
  std::string archive();         // as oci-archive
  std::string docker_archive();  // as docker-archive
};

}  // namespace cleanroom::image::testing
