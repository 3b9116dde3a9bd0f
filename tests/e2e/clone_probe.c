// What two copies of one VM must not share, as lines "name value"; built static by template_vm_test.py, run in the guest.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static void hex(const char *name, const unsigned char *bytes, unsigned size) {
  printf("%s ", name);
  for (unsigned i = 0; i < size; ++i) printf("%02x", bytes[i]);
  printf("\n");
}

static void file(const char *name, const char *path) {
  char text[128] = "";
  const int fd = open(path, O_RDONLY);
  const ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
  if (size > 0) text[strcspn(text, "\n")] = 0;
  printf("%s %s\n", name, size > 0 ? text : "-");
}

int main(void) {
  unsigned char random[16];
  struct timespec now;
  if (getrandom(random, sizeof random, 0) != sizeof random) return 1;
  hex("getrandom", random, sizeof random);
  const int urandom = open("/dev/urandom", O_RDONLY);
  if (read(urandom, random, sizeof random) != sizeof random) return 1;
  hex("urandom", random, sizeof random);
  hex("at_random", (const unsigned char *)getauxval(AT_RANDOM), 16);
  file("uuid", "/proc/sys/kernel/random/uuid");
  file("boot_id", "/proc/sys/kernel/random/boot_id");
  file("machine_id", "/etc/machine-id");
  file("hostname", "/proc/sys/kernel/hostname");
  clock_gettime(CLOCK_REALTIME, &now);
  printf("realtime %lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
  clock_gettime(CLOCK_MONOTONIC, &now);
  printf("monotonic %lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
  fflush(stdout);
  return 0;
}
