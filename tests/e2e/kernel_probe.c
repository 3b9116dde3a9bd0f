// What the guest's kernel can do, as lines "ok: name" or "MISSING: name": each check is a real call. Built static by
// kernel_build_test.sh, run as root in the guest. Exits 0 when nothing is missing.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/loop.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures;

static int has_word(const char *path, const char *word) {
  char text[8192] = "";
  const int fd = open(path, O_RDONLY);
  const ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (size <= 0) return 0;
  const size_t length = strlen(word);
  for (const char *at = text; (at = strstr(at, word)) != NULL; at += length) {
    const char before = at == text ? '\n' : at[-1];
    const char after = at[length];
    if (strchr(" \t\n", before) && (after == 0 || strchr(" \t\n", after))) return 1;
  }
  return 0;
}

static void report(const char *name, int good) {
  if (good) {
    printf("ok: %s\n", name);
  } else {
    printf("MISSING: %s\n", name);
    ++failures;
  }
  fflush(stdout);
}

// In a process of its own, whose namespaces and mounts go with it.
static void check(const char *name, int (*test)(void)) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(20);
    const int good = test();
    if (!good) fprintf(stderr, "  %s: %s\n", name, strerror(errno));
    _exit(good ? 0 : 1);
  }
  int status = 1;
  waitpid(pid, &status, 0);
  report(name, status == 0);
}

static int put(const char *path, const char *text) {
  const int fd = open(path, O_WRONLY | O_CREAT, 0600);
  const int good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  if (fd >= 0) close(fd);
  return good;
}

// A private tmpfs as working directory.
static int private_folder(void) {
  static char path[] = "/tmp/probe.XXXXXX";
  return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mkdtemp(path) != NULL &&
         mount("tmpfs", path, "tmpfs", 0, NULL) == 0 && chdir(path) == 0;
}

// All devices of the kernel, below "dev": a job's own /dev has a few of them.
static int all_devices(void) { return private_folder() && !mkdir("dev", 0755) && mount("devtmpfs", "dev", "devtmpfs", 0, NULL) == 0; }

static int io_uring(void) {
  char parameters[256] = {0};
  return syscall(425, 4, parameters) >= 0;
}
static int userfaultfd_made(void) { return syscall(SYS_userfaultfd, O_CLOEXEC) >= 0; }

static int overlay(void) {
  return private_folder() && !mkdir("lower", 0755) && !mkdir("upper", 0755) && !mkdir("work", 0755) && !mkdir("all", 0755) &&
         put("lower/file", "x") && mount("overlay", "all", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work") == 0 &&
         access("all/file", R_OK) == 0 && put("all/new", "x") && access("upper/new", R_OK) == 0;
}

static int binfmt(void) {
  return private_folder() && !mkdir("misc", 0755) && mount("binfmt_misc", "misc", "binfmt_misc", 0, NULL) == 0 &&
         put("misc/register", ":probe:E::cleanroomprobe::/bin/echo:") && access("misc/probe", R_OK) == 0;
}

static int loop_device(void) {
  if (!all_devices()) return 0;
  const int backing = open("backing", O_RDWR | O_CREAT, 0600);
  const int control = open("dev/loop-control", O_RDWR);
  if (backing < 0 || control < 0 || ftruncate(backing, 1 << 20) != 0) return 0;
  char name[32];
  snprintf(name, sizeof name, "dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
  const int loop = open(name, O_RDWR);
  if (loop < 0 || ioctl(loop, LOOP_SET_FD, backing) != 0) return 0;
  const off_t size = lseek(loop, 0, SEEK_END);
  return ioctl(loop, LOOP_CLR_FD) == 0 && size == 1 << 20;
}

static int fuse(void) { return all_devices() && open("dev/fuse", O_RDWR) >= 0; }

static int tun(void) {
  struct ifreq request = {.ifr_name = "probe0"};
  const int fd = all_devices() ? open("dev/net/tun", O_RDWR) : -1;
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  return fd >= 0 && ioctl(fd, TUNSETIFF, &request) == 0;
}

static int namespaces(void) {
  return unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWNS |
                 0x80 /* time */) == 0;
}

// Sends one netlink message of `size` bytes and returns whether the kernel's first answer is success.
static int ask_netlink(int protocol, const void *message, size_t size) {
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  char answer[8192];
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0 || sendto(fd, message, size, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0) return 0;
  const ssize_t length = recv(fd, answer, sizeof answer, 0);
  const struct nlmsghdr *header = (const struct nlmsghdr *)answer;
  if (length < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || header->nlmsg_type != NLMSG_ERROR) return 0;
  errno = -((const struct nlmsgerr *)NLMSG_DATA(header))->error;
  return errno == 0;
}

// RTM_NEWLINK of a link of that kind, in a network of its own.
static int link_of(const char *kind, unsigned short data_type, unsigned data) {
  struct {
    struct nlmsghdr header;
    struct ifinfomsg info;
    char attributes[128];
  } message = {.header = {.nlmsg_type = RTM_NEWLINK,
                          .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL}};
  struct rtattr *outer = (struct rtattr *)message.attributes;
  struct rtattr *name = RTA_DATA(outer);
  outer->rta_type = IFLA_LINKINFO;
  name->rta_type = IFLA_INFO_KIND;
  name->rta_len = RTA_LENGTH(strlen(kind) + 1);
  strcpy(RTA_DATA(name), kind);
  size_t inner = RTA_ALIGN(name->rta_len);
  if (data_type != 0) {
    struct rtattr *nest = (struct rtattr *)((char *)name + inner);
    struct rtattr *value = RTA_DATA(nest);
    nest->rta_type = IFLA_INFO_DATA;
    value->rta_type = data_type;
    value->rta_len = RTA_LENGTH(sizeof data);
    memcpy(RTA_DATA(value), &data, sizeof data);
    nest->rta_len = RTA_LENGTH(value->rta_len);
    inner += nest->rta_len;
  }
  outer->rta_len = RTA_LENGTH(inner);
  message.header.nlmsg_len = NLMSG_LENGTH(sizeof message.info) + outer->rta_len;
  return unshare(CLONE_NEWNET) == 0 && ask_netlink(NETLINK_ROUTE, &message, message.header.nlmsg_len);
}
static int bridge(void) { return link_of("bridge", 0, 0); }
static int veth(void) { return link_of("veth", 0, 0); }
static int dummy(void) { return link_of("dummy", 0, 0); }
static int vxlan(void) { return link_of("vxlan", IFLA_VXLAN_ID, 7); }

struct nf_message {
  struct nlmsghdr header;
  struct nfgenmsg general;
};
static struct nf_message nf(unsigned short type, unsigned short flags, unsigned char family, unsigned short resource) {
  return (struct nf_message){.header = {sizeof(struct nf_message), type, NLM_F_REQUEST | flags, 1, 0},
                             .general = {.nfgen_family = family, .res_id = resource}};
}

// A batch with one new table, as nft sends it; the kernel acknowledges the table.
static int nf_tables(void) {
  struct {
    struct nf_message begin, table;
    struct nlattr name;
    char text[8];
    struct nf_message end;
  } batch = {.begin = nf(NFNL_MSG_BATCH_BEGIN, 0, 0, 0x0a00),
             .table = nf(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, NLM_F_ACK | NLM_F_CREATE, 1 /* inet */, 0),
             .name = {sizeof(struct nlattr) + 6, NFTA_TABLE_NAME},
             .text = "probe",
             .end = nf(NFNL_MSG_BATCH_END, 0, 0, 0x0a00)};
  batch.table.header.nlmsg_len += sizeof batch.name + sizeof batch.text;
  return unshare(CLONE_NEWNET) == 0 && ask_netlink(NETLINK_NETFILTER, &batch, sizeof batch);
}

// The legacy kind: the tables of iptables are there in a new network.
static int iptables(void) {
  struct { char name[32]; unsigned valid_hooks, hook_entry[5], underflow[5], num_entries, size; } info = {.name = "nat"};
  socklen_t size = sizeof info;
  const int fd = unshare(CLONE_NEWNET) == 0 ? socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, 255) : -1;
  return fd >= 0 && getsockopt(fd, 0, 64 /* IPT_SO_GET_INFO */, &info, &size) == 0 && info.num_entries > 0;
}

static int vsock(void) {
  unsigned cid = 0;
  const int fd = all_devices() ? open("dev/vsock", O_RDONLY) : -1;
  return fd >= 0 && ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) == 0 && socket(AF_VSOCK, SOCK_STREAM, 0) >= 0;
}

static int seccomp(void) {
  const unsigned action = SECCOMP_RET_USER_NOTIF;
  return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

// What a container engine loads for a cgroup's devices, verified and accepted.
static int bpf(void) {
  struct bpf_insn program[2] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1}, {.code = BPF_JMP | BPF_EXIT}};
  union bpf_attr attributes = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
                               .insn_cnt = 2,
                               .insns = (unsigned long)program,
                               .license = (unsigned long)"GPL"};
  return syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes) >= 0;
}

static int file_systems(void) {
  for (const char *const *name =
           (const char *const[]){"ext4", "overlay", "squashfs", "erofs", "fuse", "tmpfs", "vfat", "iso9660", NULL};
       *name != NULL; ++name) {
    if (!has_word("/proc/filesystems", *name)) return fprintf(stderr, "  no %s\n", *name), 0;
  }
  return 1;
}

static int controllers(void) {
  if (!private_folder() || mkdir("cgroup", 0755) != 0 || mount("cgroup2", "cgroup", "cgroup2", 0, NULL) != 0) return 0;
  for (const char *const *name = (const char *const[]){"cpu", "cpuset", "io", "memory", "pids", NULL}; *name != NULL;
       ++name) {
    if (!has_word("cgroup/cgroup.controllers", *name)) return fprintf(stderr, "  no %s\n", *name), 0;
  }
  return 1;
}

static int no_modules(void) { return access("/proc/modules", F_OK) != 0 && access("/proc/config.gz", R_OK) == 0; }
static int entropy_device(void) { return has_word("/sys/class/misc/hw_random/rng_available", "virtio_rng.0"); }

int main(void) {
  check("no modules", no_modules);
  check("cgroup v2 controllers", controllers);
  check("file systems", file_systems);
  check("io_uring", io_uring);
  check("userfaultfd", userfaultfd_made);
  check("overlay", overlay);
  check("binfmt_misc", binfmt);
  check("loop device", loop_device);
  check("fuse", fuse);
  check("tun", tun);
  check("namespaces", namespaces);
  check("bridge", bridge);
  check("veth", veth);
  check("dummy", dummy);
  check("vxlan", vxlan);
  check("nf_tables", nf_tables);
  check("iptables", iptables);
  check("vsock", vsock);
  check("seccomp", seccomp);
  check("bpf", bpf);
  check("virtio-rng", entropy_device);
  return failures == 0 ? 0 : 1;
}
