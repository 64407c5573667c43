// SPDX-License-Identifier: Apache-2.0
/* cfg_dev.c - the options of devices beyond disks, networks and the serial port */
#include "cfg/cfg_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define UDS_MAX 97 /* with "_PORT" it still is a socket's path */

int set_vsock(struct vm_config *c, const char *val, struct err *e)
{
	static const char wanted[] = "cid=N,path=SOCKET with N from 3 to 4294967294";
	struct vsock_config *v = &c->vsock;
	const char *s = val;
	u64 cid = 0;

	if (v->present)
		return too_many(e, "--vsock", 1);
	while (*s) {
		struct part p;

		TRY(next_part(&s, &p, "--vsock", e));
		if (is_key(&p, "path"))
			TRY(copy_str(v->uds_path, UDS_MAX, "--vsock path", p.val, e));
		else if (!is_key(&p, "cid") || !parse_number(p.val, 3, CFG_CID_MAX, &cid))
			return want(e, "--vsock", val, wanted);
	}
	if (!cid || !*v->uds_path)
		return want(e, "--vsock", val, wanted);
	v->cid = (u32)cid;
	v->present = true;
	return 0;
}

/* So much in every second. @what: of the bucket's ops, NULL if it is of bytes. */
static int set_rate(struct bucket_config *b, const char *opt, const struct part *p,
		    const char *what, struct err *e)
{
	u64 n;

	if (!what ? !cfg_parse_size(p->val, &n) || !n : !parse_number(p->val, 1, UINT32_MAX, &n))
		return err_set(e, EINVAL, "%s %s: \"%.40s\": want %s%s per second", opt, p->text,
			       p->val, what ? "a number of " : "bytes, such as 10M,",
			       what ? what : "");
	*b = (struct bucket_config){ .size = n, .refill_time = 1000 };
	return 0;
}

bool cfg_parse_mac(const char *s, u8 ret[6])
{
	static const char hex[] = "0123456789abcdef";

	for (unsigned i = 0; i < 17; i++) {
		const char *h = s[i] ? strchr(hex, s[i] | 0x20) : NULL;

		if (i % 3 == 2 ? s[i] != ':' : !h || (s[i] < '0'))
			return false;
		if (i % 3 != 2)
			ret[i / 3] = (u8)(ret[i / 3] << 4 | (h - hex));
	}
	return !s[17] && !(ret[0] & 1);
}

int set_nic_part(struct net_config *n, const struct part *p, struct err *e)
{
	u8 mac[6];
	u64 mtu;

	if (is_key(p, "rx-rate"))
		return set_rate(&n->rx_limit.bandwidth, "--net", p, NULL, e);
	if (is_key(p, "tx-rate"))
		return set_rate(&n->tx_limit.bandwidth, "--net", p, NULL, e);
	if (is_key(p, "rx-ops"))
		return set_rate(&n->rx_limit.ops, "--net", p, "frames", e);
	if (is_key(p, "tx-ops"))
		return set_rate(&n->tx_limit.ops, "--net", p, "frames", e);
	if (is_key(p, "mtu")) {
		if (!parse_number(p->val, 68, 65535, &mtu))
			return want(e, "--net mtu", p->val, "a number from 68 to 65535");
		n->mtu = (u32)mtu;
		return 0;
	}
	if (is_key(p, "mac")) {
		if (!cfg_parse_mac(p->val, mac))
			return want(e, "--net mac", p->val, "aa:bb:cc:dd:ee:ff, no group address");
		strcpy(n->mac, p->val);
		return 0;
	}
	return 1;
}

int set_disk_part(struct disk_config *d, const struct part *p, struct err *e)
{
	static const char *const caches[] = { "writeback", "writethrough", "unsafe", "none",
					      "directsync", NULL };
	u64 n;

	if (is_key(p, "bps"))
		return set_rate(&d->limit.bandwidth, "--disk", p, NULL, e);
	if (is_key(p, "iops"))
		return set_rate(&d->limit.ops, "--disk", p, "requests", e);
	if (is_key(p, "cache"))
		return parse_enum(&d->cache, "--disk cache", p->val, caches,
				  "none, writeback, writethrough, directsync or unsafe", e);
	if (is_key(p, "queues")) {
		if (!parse_number(p->val, 1, CFG_DISK_QUEUES, &n))
			return want(e, "--disk queues", p->val, "a number from 1 to 16");
		d->queues = (u32)n;
		return 0;
	}
	return 1;
}

int set_balloon(struct vm_config *c, const char *val, struct err *e)
{
	static const char wanted[] = "off, or SIZE, deflate-on-oom, stats=SECONDS, hinting or "
				     "no-reporting with commas between";
	struct balloon_config b = { .present = true, .reporting = true };
	const char *s = val;
	u64 n;

	while (*s) {
		struct part p;

		TRY(next_part(&s, &p, "--balloon", e));
		if (is_flag(&p, "off"))
			b.present = false;
		else if (is_flag(&p, "deflate-on-oom"))
			b.deflate_on_oom = true;
		else if (is_flag(&p, "hinting"))
			b.hinting = true;
		else if (is_flag(&p, "no-reporting"))
			b.reporting = false;
		else if (is_key(&p, "stats") && parse_number(p.val, 1, 65535, &n))
			b.stats_polling_s = (u32)n;
		else if (!p.val && cfg_parse_size(p.text, &n) && n >> 20 <= UINT32_MAX)
			b.amount_mib = (u32)(n >> 20);
		else
			return want(e, "--balloon", val, wanted);
	}
	c->balloon = b;
	return 0;
}

int set_boot_timer(struct vm_config *c, const char *val UNUSED, struct err *e UNUSED)
{
	c->boot_timer = true;
	return 0;
}

int set_transport(struct vm_config *c, const char *val, struct err *e)
{
	static const char *const names[] = { "pci", "mmio", NULL };

	return parse_enum(&c->transport, "--transport", val, names, "pci or mmio", e);
}

int set_mmds(struct vm_config *c, const char *val, struct err *e)
{
	static const char wanted[] = "FILE[,version=1|2][,address=169.254.X.Y]";
	struct mmds_config m = { .present = true, .version = 2, .ipv4 = 0xa9fea9fe,
				 .size_limit = 51200, .fd = -1 };
	const char *s = val;
	struct in_addr a;
	struct part p;
	u64 n;

	TRY(next_part(&s, &p, "--mmds", e));
	if (p.val)
		return want(e, "--mmds", val, wanted);
	TRY(copy_str(m.path, sizeof m.path, "--mmds", p.text, e));
	while (*s) {
		TRY(next_part(&s, &p, "--mmds", e));
		if (is_key(&p, "version") && parse_number(p.val, 1, 2, &n))
			m.version = (u32)n;
		else if (is_key(&p, "address") && inet_pton(AF_INET, p.val, &a) == 1 &&
			 ntohl(a.s_addr) >> 16 == 0xa9fe)
			m.ipv4 = ntohl(a.s_addr);
		else
			return want(e, "--mmds", val, wanted);
	}
	c->mmds = m;
	return 0;
}

int set_pmem(struct vm_config *c, const char *val, struct err *e)
{
	struct pmem_config *m = &c->pmem[c->nr_pmems];
	const char *s = val;
	struct part p;

	if (c->nr_pmems == CFG_PMEMS)
		return too_many(e, "--pmem", CFG_PMEMS);
	*m = (struct pmem_config){ .fd = -1 };
	while (*s) {
		TRY(next_part(&s, &p, "--pmem", e));
		if (is_key(&p, "path"))
			TRY(copy_str(m->path, sizeof m->path, "--pmem path", p.val, e));
		else if (is_flag(&p, "readonly"))
			m->read_only = true;
		else
			return want(e, "--pmem", val, "path=FILE[,readonly]");
	}
	if (!*m->path)
		return want(e, "--pmem", val, "path=FILE[,readonly]");
	c->nr_pmems++;
	return 0;
}

/* A size as a whole number of MiB. */
static bool parse_mib(const char *s, u32 *ret)
{
	u64 n;

	if (!cfg_parse_size(s, &n) || n & ((1 << 20) - 1) || n >> 20 > UINT32_MAX)
		return false;
	*ret = (u32)(n >> 20);
	return true;
}

int set_hotplug_memory(struct vm_config *c, const char *val, struct err *e)
{
	static const char wanted[] = "TOTAL[,plugged=SIZE][,block=SIZE], block a power of two from 2M "
				     "on, the others multiples of it and of 128M";
	struct memhp_config m = { .present = true, .slot_mib = 128, .block_mib = 2 };
	const char *s = val;
	struct part p;
	bool ok;

	TRY(next_part(&s, &p, "--hotplug-memory", e));
	ok = !p.val && parse_mib(p.text, &m.total_mib);
	while (*s && ok) {
		TRY(next_part(&s, &p, "--hotplug-memory", e));
		ok = (is_key(&p, "plugged") && parse_mib(p.val, &m.requested_mib)) ||
		     (is_key(&p, "block") && parse_mib(p.val, &m.block_mib));
	}
	if (!ok || m.total_mib % 128 || !cfg_memhp_ok(&m))
		return want(e, "--hotplug-memory", val, wanted);
	c->memhp = m;
	return 0;
}

int set_vhost_user(struct vm_config *c, const char *val, struct err *e)
{
	static const char wanted[] = "type=fs|blk|net,socket=PATH[,tag=NAME]";
	static const char *const types[] = { "fs", "blk", "net", NULL };
	struct vhost_config *h = &c->vhost[c->nr_vhosts];
	bool typed = false;
	const char *s = val;
	struct part p;

	if (c->nr_vhosts == CFG_VHOSTS)
		return too_many(e, "--vhost-user", CFG_VHOSTS);
	*h = (struct vhost_config){ .fd = -1, .tag = "share" };
	while (*s) {
		TRY(next_part(&s, &p, "--vhost-user", e));
		if (is_key(&p, "socket")) {
			TRY(copy_str(h->path, sizeof h->path, "--vhost-user socket", p.val, e));
		} else if (is_key(&p, "tag")) {
			TRY(copy_str(h->tag, sizeof h->tag, "--vhost-user tag", p.val, e));
		} else if (is_key(&p, "type")) {
			TRY(parse_enum(&h->type, "--vhost-user type", p.val, types, "fs, blk or net",
				       e));
			typed = true;
		} else {
			return want(e, "--vhost-user", val, wanted);
		}
	}
	if (!typed || !*h->path)
		return want(e, "--vhost-user", val, wanted);
	c->nr_vhosts++;
	return 0;
}
