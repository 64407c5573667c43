// SPDX-License-Identifier: Apache-2.0
/*
 * vireo-init.c - process 1 of the quick-start guest
 *
 * Follows docs/guest-agent.md. Loads the modules of the devices it finds, sets
 * up the network without DHCP, then runs a shell on the console, or one command
 * for the host with its streams on virtio-console ports. Static, and written for
 * boot time: no process is started that is not needed, nothing sleeps that can
 * poll.
 *
 * The host is trusted here (it owns this machine's memory), but its frames are
 * length-checked all the same.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <linux/input.h>
#include <linux/random.h>
#include <net/if_arp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MODULE_DIR  "/lib/modules"
#define MODULE_LIST MODULE_DIR "/load" /* written by tools/quickstart */
#define FRAME_MAX   (1u << 20)	       /* longest payload on vireo.ctl, bytes */
#define PUMP_SIZE   65536	       /* a pipe's capacity */
#define MAX_STRINGS 4096	       /* arguments, and environment entries */

#define VIRTIO_ID_CONSOLE 3 /* [virtio 5.3] */
#define VIRTIO_ID_RNG	  4 /* [virtio 5.4] */
#define VIRTIO_ID_BALLOON 5 /* [virtio 5.5] */

static char cmdline[4096];

/* -- small tools -- */

/* One line on the console; process 1 has nowhere else to complain. */
static void say(const char *what, const char *why)
{
	dprintf(2, "vireo-init: %s: %s\n", what, why);
}

/* Read a whole small file, without its last newline. Returns its length or -1. */
static ssize_t slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		return -1;
	if (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n] = 0;
	return n;
}

/* The value of word NAME= (or "" for the bare word NAME) on the kernel command line, or NULL. */
static const char *option(const char *name, char *buf, size_t size)
{
	size_t len = strlen(name);
	const char *p = cmdline;

	while (*p) {
		size_t word = strcspn(p, " ");

		if (word >= len && !strncmp(p, name, len) && (word == len || p[len] == '=')) {
			size_t skip = word == len ? len : len + 1;

			snprintf(buf, size, "%.*s", (int)(word - skip), p + skip);
			return buf;
		}
		p += word;
		p += strspn(p, " ");
	}
	return NULL;
}

static void nap_us(long us)
{
	nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL);
}

static void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

/* -- start of the system -- */

static void mount_all(void)
{
	static const struct {
		const char *type, *dir, *data;
		unsigned long flags;
	} fs[] = {
		{ "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "devtmpfs", "/dev", "mode=0755", MS_NOSUID },
		{ "devpts", "/dev/pts", "mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC },
	};

	for (size_t i = 0; i < sizeof(fs) / sizeof(fs[0]); i++) {
		mkdir(fs[i].dir, 0755);
		if (mount(fs[i].type, fs[i].dir, fs[i].type, fs[i].flags, fs[i].data) < 0 &&
		    errno != EBUSY)
			say(fs[i].dir, strerror(errno));
	}
	mkdir("/dev/shm", 01777);
	if (symlink("/proc/self/fd", "/dev/fd") < 0 && errno != EEXIST)
		say("/dev/fd", strerror(errno));
}

static void load_module(const char *file)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), MODULE_DIR "/%s", file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
		say(path, strerror(errno));
	if (fd >= 0) {
		close(fd);
		unlink(path); /* its memory is the guest's again */
	}
}

/*
 * Load the modules of one line of MODULE_LIST: "KEY FILE FILE...", in dependency
 * order. KEY is "pci" or "mmio" (the transport), "vN" (virtio device type N) or
 * "panic" (how the monitor learns of one), "button" (the power button). A file that
 * several lines need is there only once, so a missing one is already loaded.
 */
static void load_key(const char *list, const char *key)
{
	size_t len = strlen(key);
	const char *line = list;

	while (line && !(!strncmp(line, key, len) && line[len] == ' ')) {
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	for (const char *p = line ? line + len : NULL; p && *p == ' ';) {
		size_t n = strcspn(++p, " \n");
		char file[96], path[128];

		snprintf(file, sizeof(file), "%.*s", (int)n, p);
		snprintf(path, sizeof(path), MODULE_DIR "/%s", file);
		if (!access(path, F_OK))
			load_module(file);
		p += n;
	}
}

static char module_list[8192];

/* What a short command does not need is loaded by a process of its own, a little later. */
static void load_later(const char *list, const char *key)
{
	if (fork())
		return;
	sleep(1);
	load_key(list, key);
	_exit(0);
}

/* Drivers for the virtio devices that exist; [virtio 5] gives the type numbers. */
static void load_drivers(bool for_command)
{
	char *list = module_list;
	struct dirent *d;
	DIR *dir;

	if (slurp(MODULE_LIST, list, sizeof(module_list)) < 0)
		return; /* a kernel with everything built in */
	load_key(list, "pci");
	if (!access("/sys/bus/acpi/devices/LNRO0005:00", F_OK))
		load_key(list, "mmio");
	if (for_command) {
		char key[8];

		snprintf(key, sizeof(key), "v%d", VIRTIO_ID_CONSOLE);
		load_key(list, key);
	}
	dir = opendir("/sys/bus/virtio/devices");
	while (dir && (d = readdir(dir))) {
		char path[300], id[16], key[16];
		long type;

		snprintf(path, sizeof(path), "/sys/bus/virtio/devices/%.200s/device", d->d_name);
		if (d->d_name[0] == '.' || slurp(path, id, sizeof(id)) < 0)
			continue;
		type = strtol(id, NULL, 16);
		if (!for_command && type == VIRTIO_ID_CONSOLE)
			continue; /* only watch_notices() needs it */
		if (for_command && type == VIRTIO_ID_RNG)
			continue; /* RDRAND has seeded the kernel; saves the time */
		snprintf(key, sizeof(key), "v%ld", type);
		if (for_command && type == VIRTIO_ID_BALLOON)
			load_later(list, key);
		else
			load_key(list, key);
	}
	if (dir)
		closedir(dir);
	load_key(list, "panic"); /* a panic ends the machine with a status that says so */
}

/* -- network -- */

struct net_config {
	struct in_addr addr, mask, gateway, dns;
};

/* Parse "ADDR/LEN,GATEWAY,DNS". */
static bool net_parse(const char *s, struct net_config *c)
{
	char addr[32], gw[32], dns[32];
	unsigned len;

	if (sscanf(s, "%31[0-9.]/%u,%31[0-9.],%31[0-9.]", addr, &len, gw, dns) != 4 || len > 32)
		return false;
	c->mask.s_addr = htonl(len ? ~0u << (32 - len) : 0);
	return inet_aton(addr, &c->addr) && inet_aton(gw, &c->gateway) && inet_aton(dns, &c->dns);
}

static void sin_set(struct sockaddr *sa, struct in_addr a)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = a };

	memcpy(sa, &in, sizeof(in));
}

static int if_up(int s, const char *name)
{
	struct ifreq r = { .ifr_flags = IFF_UP | IFF_RUNNING };

	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	return ioctl(s, SIOCSIFFLAGS, &r);
}

static int if_address(int s, const char *name, unsigned long request, struct in_addr a)
{
	struct ifreq r = { 0 };

	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	sin_set(&r.ifr_addr, a);
	return ioctl(s, request, &r);
}

static int default_route(int s, struct in_addr gateway)
{
	struct rtentry rt = { .rt_flags = RTF_UP | RTF_GATEWAY };
	struct in_addr any = { 0 };

	sin_set(&rt.rt_dst, any);
	sin_set(&rt.rt_genmask, any);
	sin_set(&rt.rt_gateway, gateway);
	return ioctl(s, SIOCADDRT, &rt);
}

static void write_resolv_conf(struct in_addr dns)
{
	int fd = open("/etc/resolv.conf", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return;
	dprintf(fd, "nameserver %s\n", inet_ntoa(dns));
	close(fd);
}

/*
 * Wait, 100 ms at most, until the driver has seen its link: what is sent before
 * that is dropped, and costs the command a second of retransmission.
 */
static void wait_carrier(void)
{
	char up[4];

	for (int tries = 0; tries < 500; tries++) {
		if (slurp("/sys/class/net/eth0/carrier", up, sizeof(up)) < 0 || up[0] == '1')
			return;
		nap_us(200);
	}
}

/* Static addresses at once: user-mode networking always hands out the same ones. */
static void network(void)
{
	char buf[128];
	const char *text = option("vireo.ip", buf, sizeof(buf));
	struct net_config c;
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0)
		return;
	if_up(s, "lo");
	if (text && !strcmp(text, "none"))
		goto out;
	if (!net_parse(text ? text : "10.0.2.15/24,10.0.2.2,10.0.2.3", &c)) {
		say("vireo.ip", "want ADDRESS/LENGTH,GATEWAY,DNS");
		goto out;
	}
	if (access("/sys/class/net/eth0", F_OK) < 0)
		goto out;
	if (if_address(s, "eth0", SIOCSIFADDR, c.addr) < 0 ||
	    if_address(s, "eth0", SIOCSIFNETMASK, c.mask) < 0 || if_up(s, "eth0") < 0 ||
	    default_route(s, c.gateway) < 0)
		say("eth0", strerror(errno));
	write_resolv_conf(c.dns);
	wait_carrier();
out:
	close(s);
}

/* One vireo.share=TAG:DIRECTORY word: mount a directory the host shares. */
static void mount_share(char *text)
{
	char *dir = strchr(text, ':');

	if (!dir || dir[1] != '/') {
		say("vireo.share", "want TAG:/DIRECTORY");
		return;
	}
	*dir++ = 0;
	mkdir(dir, 0755);
	if (mount(text, dir, "virtiofs", 0, NULL) < 0 &&
	    mount(text, dir, "9p", 0, "trans=virtio,version=9p2000.L,msize=262144") < 0)
		say(dir, strerror(errno));
}

static void mount_shares(void)
{
	static const char word[] = "vireo.share=";
	char text[256];

	for (const char *p = cmdline; *p; p += strcspn(p, " "), p += strspn(p, " ")) {
		if (strncmp(p, word, sizeof(word) - 1))
			continue;
		snprintf(text, sizeof(text), "%.*s", (int)(strcspn(p, " ") - (sizeof(word) - 1)),
			 p + sizeof(word) - 1);
		mount_share(text);
	}
}

static void set_environment(void)
{
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("USER", "root", 1);
	setenv("TERM", "linux", 0);
}

/* In a child: the signal state a program expects, which process 1 does not have. */
static void child_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
}

/* -- notices: this machine is a copy now (docs/guest-agent.md) -- */

#define NOTICE_PORT "vireo.notice"
#define NOTICE_MAX  4096 /* longest frame */

static void add_seed(const char *hex)
{
	uint32_t raw[(sizeof(struct rand_pool_info) + 256) / 4] = { 0 };
	struct rand_pool_info *pool = (void *)raw;
	int n = 0, fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
	unsigned byte;

	while (n < 256 && sscanf(hex + 2 * n, "%2x", &byte) == 1)
		((uint8_t *)pool->buf)[n++] = (uint8_t)byte;
	pool->buf_size = n;
	pool->entropy_count = 8 * n;
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
		say("/dev/urandom", strerror(errno));
	explicit_bzero(raw, sizeof(raw));
	if (fd >= 0)
		close(fd);
}

/* The host moved our clocks on; what it cannot have moved is set if it is off by much. */
static void step_clock(const char *text)
{
	struct timespec now, then = { 0 };
	long long sec, ns;

	if (sscanf(text, "%lld.%lld", &sec, &ns) != 2)
		return;
	then.tv_sec = sec;
	then.tv_nsec = ns;
	clock_gettime(CLOCK_REALTIME, &now);
	ns = (now.tv_sec - sec) * 1000 + (now.tv_nsec - ns) / 1000000;
	if ((ns > 500 || ns < -500) && clock_settime(CLOCK_REALTIME, &then) < 0)
		say("clock", strerror(errno));
}

/* "N AA:BB:CC:DD:EE:FF" for ethN. */
static void set_mac(const char *text)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = { 0 };
	unsigned n, b[6];

	if (sscanf(text, "%u %x:%x:%x:%x:%x:%x", &n, b, b + 1, b + 2, b + 3, b + 4, b + 5) == 7) {
		snprintf(r.ifr_name, IFNAMSIZ, "eth%u", n % 100);
		r.ifr_hwaddr.sa_family = ARPHRD_ETHER;
		for (int i = 0; i < 6; i++)
			r.ifr_hwaddr.sa_data[i] = (char)b[i];
		if (ioctl(s, SIOCSIFHWADDR, &r) < 0 && errno != ENODEV)
			say(r.ifr_name, strerror(errno));
	}
	if (s >= 0)
		close(s);
}

/* Strings, each ended by a zero byte; the first character is its kind. */
static void obey_notice(char *p, const char *end)
{
	for (; p < end; p += strlen(p) + 1) {
		if (*p == 's')
			add_seed(p + 1);
		else if (*p == 'w')
			step_clock(p + 1);
		else if (*p == 'm')
			set_mac(p + 1);
		else if (*p == 'h' && sethostname(p + 1, strlen(p + 1)) < 0)
			say("host name", strerror(errno));
	}
}

static int open_port(const char *wanted)
{
	DIR *dir = opendir("/sys/class/virtio-ports");
	struct dirent *d;
	int fd = -1;

	while (dir && fd < 0 && (d = readdir(dir))) {
		char path[300], name[64];

		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%.200s/name", d->d_name);
		if (d->d_name[0] == '.' || slurp(path, name, sizeof(name)) < 0 ||
		    strcmp(name, wanted))
			continue;
		snprintf(path, sizeof(path), "/dev/%.200s", d->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
	}
	if (dir)
		closedir(dir);
	return fd;
}

/* One frame: type, three zeroes, le32 length, payload. What is none is dropped as a whole. */
static bool read_notice(int fd)
{
	static char buf[NOTICE_MAX + 1];
	size_t have = 0, len;
	uint32_t le;
	ssize_t n;

	for (;;) {
		n = read(fd, buf + have, NOTICE_MAX - have);
		if (n <= 0)
			return n < 0 && errno == EINTR;
		have += (size_t)n;
		memcpy(&le, buf + 4, sizeof(le));
		len = le32toh(le);
		if (have < 8)
			continue;
		if (len > NOTICE_MAX - 8)
			return true;
		if (have >= 8 + len)
			break;
	}
	buf[8 + len] = 0;
	if (buf[0] == 'N')
		obey_notice(buf + 8, buf + 8 + len);
	explicit_bzero(buf, sizeof(buf));
	return true;
}

/*
 * A process of its own, which runs before any other as soon as a notice is there: whoever reads
 * random numbers then gets this machine's.
 */
static void watch_notices(void)
{
	int fd = -1;

	load_key(module_list, "v3");
	for (int tries = 0; fd < 0 && tries < 1000; tries++) {
		fd = open_port(NOTICE_PORT);
		if (fd < 0)
			nap_us(10000);
	}
	if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){ .sched_priority = 99 }) < 0 ||
	    mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		say(NOTICE_PORT, strerror(errno));
	while (fd >= 0 && read_notice(fd))
		;
	_exit(0);
}

static bool has_console_device(void)
{
	DIR *dir = opendir("/sys/bus/virtio/devices");
	struct dirent *d;
	bool found = false;

	while (dir && (d = readdir(dir))) {
		char path[300], id[16];

		snprintf(path, sizeof(path), "/sys/bus/virtio/devices/%.200s/device", d->d_name);
		if (d->d_name[0] != '.' && slurp(path, id, sizeof(id)) >= 0)
			found |= strtol(id, NULL, 16) == VIRTIO_ID_CONSOLE;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* -- interactive shell -- */

static void banner(void)
{
	struct utsname u;
	long mib = sysconf(_SC_PHYS_PAGES) / 256;

	uname(&u);
	printf("\n"
	       "  Vireo quick-start guest: Linux %s, %ld CPU%s, %ld MiB\n"
	       "\n"
	       "  exit or Ctrl-D     power off            Ctrl-] q   leave at once\n"
	       "  ping 10.0.2.2      reach the host       wget URL   reach the network\n"
	       "\n",
	       u.release, sysconf(_SC_NPROCESSORS_ONLN),
	       sysconf(_SC_NPROCESSORS_ONLN) == 1 ? "" : "s", mib);
	fflush(stdout);
}

/* Open the terminal behind /dev/console, which alone can be a controlling terminal. */
static int open_console(void)
{
	char active[128], path[160];
	char *last;

	if (slurp("/sys/class/tty/console/active", active, sizeof(active)) <= 0)
		return open("/dev/console", O_RDWR);
	last = strrchr(active, ' ');
	snprintf(path, sizeof(path), "/dev/%s", last ? last + 1 : active);
	return open(path, O_RDWR | O_NOCTTY);
}

static void shell_child(void)
{
	char buf[32];
	struct winsize ws = { 0 };
	int tty;

	setsid();
	tty = open_console();
	if (tty >= 0) {
		ioctl(tty, TIOCSCTTY, 0);
		if (option("vireo.winsize", buf, sizeof(buf)) &&
		    sscanf(buf, "%hux%hu", &ws.ws_row, &ws.ws_col) == 2)
			ioctl(tty, TIOCSWINSZ, &ws);
		dup2(tty, 0);
		dup2(tty, 1);
		dup2(tty, 2);
		if (tty > 2)
			close(tty);
	}
	child_signals();
	banner();
	if (chdir("/root") < 0)
		say("/root", strerror(errno));
	execl("/bin/sh", "-sh", (char *)NULL);
	say("/bin/sh", strerror(errno));
	_exit(127);
}

/* busybox poweroff, reboot and halt ask process 1 by signal. */
static void obey(int sig)
{
	sync();
	reboot(sig == SIGTERM || sig == SIGINT ? RB_AUTOBOOT : RB_POWER_OFF);
}

/* A process of its own: wait for the ACPI power button, then ask process 1 to power off. */
static void power_button(void)
{
	struct input_event ev;
	int fd = -1;

	load_key(module_list, "button");
	for (int tries = 0; fd < 0 && tries < 100; tries++) {
		nap_us(10000);
		fd = open("/dev/input/event0", O_RDONLY | O_CLOEXEC); /* the only input device */
	}
	while (fd >= 0 && read(fd, &ev, sizeof(ev)) == sizeof(ev))
		if (ev.type == EV_KEY && ev.code == KEY_POWER && ev.value)
			kill(1, SIGUSR2);
	_exit(0);
}

static void run_shell(void)
{
	pid_t shell;

	signal(SIGUSR1, obey);
	signal(SIGUSR2, obey);
	signal(SIGTERM, obey);
	signal(SIGINT, obey);
	reboot(RB_DISABLE_CAD);
	shell = fork();
	if (shell == 0)
		shell_child();
	if (fork() == 0)
		power_button();
	if (has_console_device() && fork() == 0)
		watch_notices();
	for (;;) {
		pid_t pid = wait(NULL);

		if (pid == shell || (pid < 0 && errno == ECHILD))
			power_off();
	}
}

/* -- the host's command: ports and frames -- */

enum { CTL, IN, OUT, ERR, NR_PORTS };

static const char *const port_name[NR_PORTS] = { "vireo.ctl", "vireo.stdin", "vireo.stdout",
						 "vireo.stderr" };

/*
 * One direction of one stream: bytes read from src wait in buf for dst. Both
 * descriptors are non-blocking, -1 when closed.
 */
struct pump {
	int src, dst;
	size_t head, len; /* buf[head, head+len) is waiting */
	uint64_t done;	  /* bytes read from the port (IN), or written to it */
	uint64_t total;	  /* IN: bytes in all, ~0 until the host says */
	bool drop;	  /* nobody reads dst any more */
	char buf[PUMP_SIZE];
};

static struct {
	int port[NR_PORTS];
	struct pump in, out, err;
	int tty; /* pty master, or -1 */
	pid_t pid;
	bool ended;
	int status;
	uint8_t *rx; /* frame being received */
	size_t rx_len;
} job;

/* Give up on the host: what it sent makes no sense, or it never came. */
static void give_up(const char *what, const char *why)
{
	say(what, why);
	power_off();
}

static bool find_ports(void)
{
	DIR *dir = opendir("/sys/class/virtio-ports");
	struct dirent *d;
	int found = 0;

	while (dir && (d = readdir(dir))) {
		char path[300], name[64];

		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%.200s/name", d->d_name);
		if (d->d_name[0] == '.' || slurp(path, name, sizeof(name)) < 0)
			continue;
		for (int i = 0; i < NR_PORTS; i++) {
			if (job.port[i] < 0 && !strcmp(name, port_name[i])) {
				snprintf(path, sizeof(path), "/dev/%.200s", d->d_name);
				job.port[i] = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
			}
		}
	}
	if (dir)
		closedir(dir);
	for (int i = 0; i < NR_PORTS; i++)
		found += job.port[i] >= 0;
	return found == NR_PORTS;
}

static void open_ports(void)
{
	for (int i = 0; i < NR_PORTS; i++)
		job.port[i] = -1;
	for (int tries = 0; !find_ports(); tries++) {
		if (tries == 20000)
			give_up("vireo.ctl", "no such virtio-console port");
		nap_us(500);
	}
}

/* A port whose host end is not open reads as end of file and hangs up: wait and retry. */
static ssize_t port_read(int fd, void *buf, size_t len)
{
	ssize_t n = read(fd, buf, len);

	if (n == 0) {
		nap_us(1000);
		errno = EAGAIN;
		return -1;
	}
	return n;
}

static void ctl_send(char type, const void *payload, uint32_t len)
{
	uint8_t f[8 + 32] = { (uint8_t)type };
	uint32_t le = htole32(len);
	size_t sent = 0;

	memcpy(f + 4, &le, 4);
	memcpy(f + 8, payload, len);
	while (sent < 8 + len) {
		ssize_t n = write(job.port[CTL], f + sent, 8 + len - sent);

		if (n > 0)
			sent += (size_t)n;
		else
			nap_us(500);
	}
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return le32toh(v);
}

/* -- starting the command -- */

struct request {
	char *argv[MAX_STRINGS + 1];
	int argc;
	const char *dir;
	struct winsize ws;
	bool tty;
};

static void request_parse(struct request *r, char *p, size_t len)
{
	char *end = p + len;

	if (!len || end[-1])
		give_up("vireo.ctl", "malformed RUN frame");
	r->dir = "/root";
	for (; p < end; p += strlen(p) + 1) {
		if (*p == 'a' && r->argc < MAX_STRINGS)
			r->argv[r->argc++] = p + 1;
		else if (*p == 'e' && strchr(p, '='))
			putenv(p + 1);
		else if (*p == 'd')
			r->dir = p + 1;
		else if (*p == 't')
			r->tty = sscanf(p + 1, "%hu %hu", &r->ws.ws_row, &r->ws.ws_col) == 2;
	}
	if (!r->argc)
		give_up("vireo.ctl", "RUN frame without a command");
}

/* Does not return. Standard streams are in place. */
static void command_child(struct request *r)
{
	child_signals();
	if (chdir(r->dir) < 0) {
		dprintf(2, "vireo: cannot enter %s: %s\n", r->dir, strerror(errno));
		_exit(126);
	}
	execvp(r->argv[0], r->argv);
	if (errno == ENOENT) {
		dprintf(2, "vireo: %s: command not found in the guest\n", r->argv[0]);
		_exit(127);
	}
	dprintf(2, "vireo: %s: cannot run: %s\n", r->argv[0], strerror(errno));
	_exit(126);
}

static void nonblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void start_on_pipes(struct request *r)
{
	int in[2], out[2], err[2];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		give_up("pipe", strerror(errno));
	job.pid = fork();
	if (job.pid == 0) {
		setsid();
		dup2(in[0], 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		command_child(r);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	nonblock(in[1]);
	job.in.dst = in[1];
	job.out.src = out[0];
	job.err.src = err[0];
}

static void start_on_tty(struct request *r)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), unlocked = 0, slave;

	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0)
		give_up("/dev/ptmx", strerror(errno));
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	ioctl(master, TIOCSWINSZ, &r->ws);
	job.pid = fork();
	if (job.pid == 0) {
		setsid();
		ioctl(slave, TIOCSCTTY, 0);
		dup2(slave, 0);
		dup2(slave, 1);
		dup2(slave, 2);
		close(slave);
		command_child(r);
	}
	close(slave);
	job.tty = master;
	job.out.src = master;
	job.in.dst = dup(master);
	nonblock(job.in.dst);
	job.err.src = -1;
}

static void start_command(uint8_t *payload, size_t len)
{
	static struct request r;

	if (job.pid)
		give_up("vireo.ctl", "second RUN frame");
	request_parse(&r, (char *)payload, len);
	if (r.tty)
		start_on_tty(&r);
	else
		start_on_pipes(&r);
	if (job.pid < 0)
		give_up("fork", strerror(errno));
	if (job.out.src >= 0)
		nonblock(job.out.src);
	if (job.err.src >= 0)
		nonblock(job.err.src);
}

/* -- streams -- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Fill @p from its source until full or empty. Returns false at end of file. */
static bool pump_fill(struct pump *p, bool from_port)
{
	while (p->len < PUMP_SIZE) {
		size_t room = PUMP_SIZE - p->head - p->len;
		ssize_t n;

		if (!room)
			break;
		n = from_port ? port_read(p->src, p->buf + p->head + p->len, room) :
				read(p->src, p->buf + p->head + p->len, room);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		if (n < 0)
			break;
		p->len += (size_t)n;
		if (from_port)
			p->done += (uint64_t)n;
	}
	return true;
}

/* Write what is waiting; a reader that is gone makes the rest be dropped. */
static void pump_drain(struct pump *p)
{
	while (p->len && !p->drop) {
		ssize_t n = write(p->dst, p->buf + p->head, p->len);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			p->drop = true;
			break;
		}
		p->head += (size_t)n;
		p->len -= (size_t)n;
	}
	if (p->drop)
		p->len = 0;
	p->head = 0;
}

/* Standard input: port to pipe; the end is a byte count. */
static void input_step(void)
{
	struct pump *p = &job.in;

	if (p->done < p->total && !p->len)
		pump_fill(p, true);
	pump_drain(p);
	if (p->drop && job.tty < 0)
		close_fd(&p->dst);
	if (p->done >= p->total && !p->len && p->dst >= 0) {
		if (job.tty >= 0 && write(p->dst, "\4", 1) < 0) /* VEOF */
			say("pty", strerror(errno));
		close_fd(&p->dst);
		p->drop = true;
	}
}

/* Standard output or error: pipe to port. */
static void output_step(struct pump *p)
{
	size_t before;

	if (p->src >= 0 && !p->len && !pump_fill(p, false)) {
		if (p->src == job.tty)
			job.tty = -1;
		close_fd(&p->src);
	}
	before = p->len;
	pump_drain(p);
	if (!p->drop)
		p->done += before - p->len;
}

/* The host's reader is gone: the command finds out from its next write. */
static void output_closed(uint32_t fd)
{
	struct pump *p = fd == 1 ? &job.out : &job.err;

	if (job.tty >= 0)
		return;
	p->drop = true;
	p->len = 0;
	close_fd(&p->src);
}

/* -- frames from the host -- */

static void set_window(const uint8_t *p)
{
	struct winsize ws = { .ws_row = (unsigned short)(p[0] | p[1] << 8),
			      .ws_col = (unsigned short)(p[2] | p[3] << 8) };

	if (job.tty >= 0)
		ioctl(job.tty, TIOCSWINSZ, &ws);
}

static void send_signal(uint32_t sig)
{
	if (job.pid <= 0 || job.ended || !sig || sig > 64)
		return;
	if (kill(-job.pid, (int)sig) < 0)
		kill(job.pid, (int)sig); /* the child has not made its group yet */
}

static void frame(uint8_t type, uint8_t *p, uint32_t len)
{
	uint64_t total;

	if (type == 'R') {
		start_command(p, len);
	} else if (type == 'I' && len >= 8) {
		memcpy(&total, p, 8);
		job.in.total = le64toh(total);
	} else if (type == 'S' && len >= 4) {
		send_signal(get32(p));
	} else if (type == 'C' && len >= 4) {
		output_closed(get32(p));
	} else if (type == 'W' && len >= 4) {
		set_window(p);
	} else if (type == 'B') {
		power_off();
	}
}

static void ctl_step(void)
{
	ssize_t n = port_read(job.port[CTL], job.rx + job.rx_len, FRAME_MAX + 8 - job.rx_len);
	size_t at = 0;

	if (n < 0)
		return;
	job.rx_len += (size_t)n;
	while (job.rx_len - at >= 8) {
		uint32_t len = get32(job.rx + at + 4);

		if (len > FRAME_MAX)
			give_up("vireo.ctl", "frame too long");
		if (job.rx_len - at < 8 + (size_t)len)
			break;
		if (job.rx[at] == 'R') {
			/* Its strings become the command's argv and environment: keep them. */
			uint8_t *keep = malloc(len + 1);

			memcpy(keep, job.rx + at + 8, len);
			frame('R', keep, len);
		} else {
			frame(job.rx[at], job.rx + at + 8, len);
		}
		at += 8 + len;
	}
	memmove(job.rx, job.rx + at, job.rx_len - at);
	job.rx_len -= at;
}

/* -- the loop -- */

static void reap(int sigfd)
{
	struct signalfd_siginfo si;
	int status;
	pid_t pid;

	while (read(sigfd, &si, sizeof(si)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != job.pid)
			continue;
		job.ended = true;
		job.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	}
}

/* Wait until something can move: never polls a descriptor that cannot make progress. */
static void wait_for_work(int sigfd)
{
	struct pollfd p[8] = {
		{ .fd = job.port[CTL], .events = POLLIN },
		{ .fd = sigfd, .events = POLLIN },
	};
	int n = 2;

	if (job.in.len)
		p[n++] = (struct pollfd){ .fd = job.in.dst, .events = POLLOUT };
	else if (job.in.done < job.in.total)
		p[n++] = (struct pollfd){ .fd = job.in.src, .events = POLLIN };
	if (job.in.dst >= 0 && !job.in.len && job.tty < 0)
		p[n++] = (struct pollfd){ .fd = job.in.dst }; /* POLLERR: no reader */
	for (int i = 0; i < 2; i++) {
		struct pump *o = i ? &job.err : &job.out;

		if (o->len)
			p[n++] = (struct pollfd){ .fd = o->dst, .events = POLLOUT };
		else if (o->src >= 0)
			p[n++] = (struct pollfd){ .fd = o->src, .events = POLLIN };
	}
	poll(p, (nfds_t)n, -1);
	for (int i = 0; i < n; i++) {
		if (p[i].fd == job.in.dst && (p[i].revents & POLLERR)) {
			job.in.drop = true;
			job.in.len = 0;
		}
	}
}

static void report_exit(void)
{
	struct {
		uint32_t status;
		uint64_t out, err;
	} __attribute__((packed)) x = { htole32((uint32_t)job.status), htole64(job.out.done),
					htole64(job.err.done) };

	sync();
	ctl_send('X', &x, sizeof(x));
}

static bool output_done(const struct pump *p)
{
	return p->src < 0 && !p->len;
}

static void run_command(void)
{
	bool reported = false;
	uint32_t version = htole32(1);
	sigset_t chld;
	int sigfd;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	sigfd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	job.rx = malloc(FRAME_MAX + 8);
	job.tty = -1;
	job.in.src = job.port[IN];
	job.in.dst = job.out.src = job.err.src = -1;
	job.in.total = ~0ull;
	job.out.dst = job.port[OUT];
	job.err.dst = job.port[ERR];
	ctl_send('H', &version, 4);
	while (!job.pid) {
		poll(&(struct pollfd){ .fd = job.port[CTL], .events = POLLIN }, 1, -1);
		ctl_step();
	}
	for (;;) {
		input_step();
		output_step(&job.out);
		output_step(&job.err);
		if (job.ended && !reported && output_done(&job.out) && output_done(&job.err)) {
			report_exit();
			reported = true;
		}
		wait_for_work(sigfd);
		ctl_step();
		reap(sigfd);
	}
}

/* -- main -- */

static void set_host_name(void)
{
	char buf[65];
	const char *name = option("vireo.host", buf, sizeof(buf));

	if (!name)
		name = "vireo";
	if (sethostname(name, strlen(name)) < 0)
		say("vireo.host", strerror(errno));
}

int main(void)
{
	char buf[8];
	bool for_command;

	umask(022);
	mount_all();
	if (slurp("/proc/cmdline", cmdline, sizeof(cmdline)) < 0)
		say("/proc/cmdline", strerror(errno));
	for_command = option("vireo.run", buf, sizeof(buf)) != NULL;
	signal(SIGPIPE, SIG_IGN);
	set_environment();
	set_host_name();
	load_drivers(for_command);
	network();
	mount_shares();
	if (for_command) {
		open_ports();
		run_command();
	}
	run_shell();
}
