/* wan: one emulated link between two network namespaces.
 *
 *   namespace A                      this process                        namespace B
 *   tun device ──read──▶ loss ─▶ rate + bounded queue ─▶ delay ──write──▶ tun device
 *              ◀─write── delay ◀─ rate + bounded queue ◀─ loss ◀──read──
 *
 * usage: wan NETNS_A DEVICE_A NETNS_B DEVICE_B SEED
 * Commands come as lines on standard input and are answered by one line each; the end of input ends the link:
 *   set up|down RATE_BPS DELAY_US LOSS_PPM QUEUE_US   (up = A to B; a rate of 0 is no limit)
 *   plug | unplug                                     (unplugged, packets vanish both ways)
 *   stats                                             (one JSON object)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 65536 /* packets in flight per direction; 98 MB of 1,500 bytes */
#define MTU 1600
#define BATCH 64

struct packet {
  uint64_t due_ns;
  uint32_t size;
  unsigned char data[MTU];
};

struct direction {
  int from, to;
  uint64_t rate_bps, delay_ns, queue_ns;
  uint32_t loss_ppm;
  uint64_t free_at_ns; /* when the link has sent what it accepted */
  struct packet *ring;
  uint64_t head, tail;
  uint64_t packets, bytes, payload, lost, dropped;
};

static struct direction ways[2];
static int plugged = 1;
static uint64_t random_state;

static void die(const char *what) {
  fprintf(stderr, "wan: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* SplitMix64: the same seed gives the same losses. */
static uint32_t random_ppm(void) {
  uint64_t z = (random_state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return (uint32_t)((z ^ (z >> 31)) % 1000000ull);
}

static int open_tun(const char *netns, const char *device) {
  int ns = open(netns, O_RDONLY | O_CLOEXEC);
  if (ns < 0 || setns(ns, CLONE_NEWNET) < 0) die(netns);
  close(ns);
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) die("/dev/net/tun");
  struct ifreq request;
  memset(&request, 0, sizeof request);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  snprintf(request.ifr_name, IFNAMSIZ, "%s", device);
  if (ioctl(fd, TUNSETIFF, &request) < 0) die(device);
  return fd;
}

/* Bytes of a TCP segment without its headers; 0 for everything else. */
static uint32_t tcp_payload(const unsigned char *p, uint32_t size) {
  uint32_t ip = 0;
  if (size >= 40 && p[0] >> 4 == 4 && p[9] == 6) ip = (uint32_t)(p[0] & 15) * 4;
  else if (size >= 60 && p[0] >> 4 == 6 && p[6] == 6) ip = 40;
  if (ip == 0 || size < ip + 20) return 0;
  uint32_t headers = ip + (uint32_t)(p[ip + 12] >> 4) * 4;
  return size > headers ? size - headers : 0;
}

static void take_in(struct direction *way) {
  for (int i = 0; i < BATCH; i++) {
    unsigned char spare[MTU];
    int full = way->tail - way->head == SLOTS;
    struct packet *slot = &way->ring[way->tail % SLOTS];
    ssize_t size = read(way->from, full ? spare : slot->data, MTU);
    if (size <= 0) return;
    uint64_t now = now_ns();
    way->packets++;
    way->bytes += (uint64_t)size;
    way->payload += tcp_payload(full ? spare : slot->data, (uint32_t)size);
    if (!plugged || (way->loss_ppm > 0 && random_ppm() < way->loss_ppm)) {
      way->lost++;
      continue;
    }
    uint64_t start = way->free_at_ns > now ? way->free_at_ns : now;
    if (full || (way->rate_bps > 0 && start - now > way->queue_ns)) {
      way->dropped++;
      continue;
    }
    uint64_t sent = way->rate_bps == 0
      ? now
      : start + (uint64_t)size * 8000000000ull / way->rate_bps;
    way->free_at_ns = sent;
    slot->size = (uint32_t)size;
    /* Never before its predecessor, also when the delay was made shorter. */
    uint64_t due = sent + way->delay_ns;
    if (way->tail > way->head) {
      uint64_t before = way->ring[(way->tail - 1) % SLOTS].due_ns;
      if (before > due) due = before;
    }
    slot->due_ns = due;
    way->tail++;
  }
}

static void give_out(struct direction *way) {
  uint64_t now = now_ns();
  for (int i = 0; i < BATCH && way->head < way->tail; i++) {
    struct packet *slot = &way->ring[way->head % SLOTS];
    if (slot->due_ns > now) return;
    if (plugged && write(way->to, slot->data, slot->size) < 0 && errno == EAGAIN) return;
    way->head++;
  }
}

static void print_stats(void) {
  for (int i = 0; i < 2; i++) {
    struct direction *w = &ways[i];
    printf("%s\"%s\":{\"packets\":%llu,\"bytes\":%llu,\"payloadBytes\":%llu,\"lost\":%llu,\"dropped\":%llu}%s",
           i == 0 ? "{" : ",", i == 0 ? "up" : "down", (unsigned long long)w->packets,
           (unsigned long long)w->bytes, (unsigned long long)w->payload,
           (unsigned long long)w->lost, (unsigned long long)w->dropped, i == 0 ? "" : "}\n");
  }
  fflush(stdout);
}

static void obey(char *line) {
  char which[8];
  unsigned long long rate, delay_us, loss, queue_us;
  if (sscanf(line, "set %7s %llu %llu %llu %llu", which, &rate, &delay_us, &loss, &queue_us) == 5) {
    struct direction *way = &ways[strcmp(which, "up") == 0 ? 0 : 1];
    way->rate_bps = rate;
    way->delay_ns = delay_us * 1000;
    way->loss_ppm = (uint32_t)loss;
    way->queue_ns = queue_us * 1000;
    way->free_at_ns = 0;
  } else if (strcmp(line, "plug") == 0) plugged = 1;
  else if (strcmp(line, "unplug") == 0) plugged = 0;
  else if (strcmp(line, "stats") == 0) {
    print_stats();
    return;
  } else {
    printf("{\"error\":\"unknown command\"}\n");
    fflush(stdout);
    return;
  }
  printf("{}\n");
  fflush(stdout);
}

/* Reads what is there; obeys whole lines. Returns 0 at the end of input. */
static int read_commands(void) {
  static char held[4096];
  static size_t length;
  ssize_t size = read(0, held + length, sizeof held - 1 - length);
  if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) return 0;
  if (size < 0) return 1;
  length += (size_t)size;
  held[length] = 0;
  for (char *end; (end = strchr(held, '\n')) != NULL;) {
    *end = 0;
    obey(held);
    length -= (size_t)(end + 1 - held);
    memmove(held, end + 1, length + 1);
  }
  return length < sizeof held - 1;
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: wan NETNS_A DEVICE_A NETNS_B DEVICE_B SEED\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, 15);
  prctl(PR_SET_TIMERSLACK, 1);
  random_state = strtoull(argv[5], NULL, 10);
  int a = open_tun(argv[1], argv[2]);
  int b = open_tun(argv[3], argv[4]);
  for (int i = 0; i < 2; i++) {
    ways[i].ring = calloc(SLOTS, sizeof(struct packet)); /* pages come with use */
    if (ways[i].ring == NULL) die("memory");
  }
  ways[0].from = ways[1].to = a;
  ways[0].to = ways[1].from = b;
  printf("{\"ready\":true}\n");
  fflush(stdout);
  for (;;) {
    uint64_t next = UINT64_MAX, now = now_ns();
    for (int i = 0; i < 2; i++)
      if (ways[i].head < ways[i].tail) {
        uint64_t due = ways[i].ring[ways[i].head % SLOTS].due_ns;
        if (due < next) next = due;
      }
    struct timespec wait = {0, 0};
    if (next != UINT64_MAX && next > now) {
      wait.tv_sec = (time_t)((next - now) / 1000000000ull);
      wait.tv_nsec = (long)((next - now) % 1000000000ull);
    }
    struct pollfd fds[3] = {{a, POLLIN, 0}, {b, POLLIN, 0}, {0, POLLIN, 0}};
    if (ppoll(fds, 3, next == UINT64_MAX ? NULL : &wait, NULL) < 0 && errno != EINTR) die("poll");
    if (fds[0].revents & POLLIN) take_in(&ways[0]);
    if (fds[1].revents & POLLIN) take_in(&ways[1]);
    if (fds[2].revents != 0 && !read_commands()) return 0;
    give_out(&ways[0]);
    give_out(&ways[1]);
  }
}
