// probe resolve NAME: the addresses of getaddrinfo with AI_ADDRCONFIG, or its error.
// probe get NAME PORT PATH: the body of a plain HTTP GET. Built against glibc and, statically, against musl.
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct addrinfo* look_up(const char* name, const char* port) {
  const struct addrinfo hints = {.ai_flags = AI_ADDRCONFIG, .ai_socktype = SOCK_STREAM};
  struct addrinfo* found = NULL;
  const int error = getaddrinfo(name, port, &hints, &found);
  if (error != 0) fprintf(stderr, "getaddrinfo: %s\n", gai_strerror(error));
  return found;
}

static int resolve(const char* name) {
  const struct addrinfo* found = look_up(name, "80");
  if (found == NULL) return 1;
  for (; found != NULL; found = found->ai_next) {
    char text[64];
    if (getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0) puts(text);
  }
  return 0;
}

static int get(const char* name, const char* port, const char* path) {
  const struct addrinfo* found = look_up(name, port);
  for (; found != NULL; found = found->ai_next) {
    const int fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
      perror("connect");
      close(fd);
      continue;
    }
    dprintf(fd, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, name);
    FILE* stream = fdopen(fd, "r");
    char line[4096];
    int in_body = 0;
    while (fgets(line, sizeof line, stream) != NULL) {
      if (in_body) fputs(line, stdout);
      if (strcmp(line, "\r\n") == 0) in_body = 1;
    }
    return 0;
  }
  return 1;
}

int main(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "resolve") == 0) return resolve(argv[2]);
  if (argc == 5 && strcmp(argv[1], "get") == 0) return get(argv[2], argv[3], argv[4]);
  return 64;
}
