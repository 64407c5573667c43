// SPDX-License-Identifier: Apache-2.0
/*
 * cfg_int.h - what the setters of options share, private to cfg/
 *
 * A setter takes the option's value and changes the config, or returns -EINVAL with
 * one sentence: the option, what was given, what was wanted.
 */
#ifndef CFG_CFG_INT_H
#define CFG_CFG_INT_H

#include "cfg/cfg.h"

int want(struct err *e, const char *opt, const char *val, const char *wanted);
int too_many(struct err *e, const char *opt, unsigned max);
int copy_str(char *dst, size_t cap, const char *opt, const char *val, struct err *e) MUST_CHECK;
bool parse_number(const char *s, u64 min, u64 max, u64 *ret) MUST_CHECK;
/* One of @names (NULL at the end), as its index. */
int parse_enum(u32 *ret, const char *opt, const char *val, const char *const *names,
	       const char *wanted, struct err *e) MUST_CHECK;

/* -- options with parts: "word,key=value,flag" -------------------------------------- */

struct part {
	char text[CFG_PATH];
	const char *val; /* after '=', NULL if there is none */
};

/* Take the next part of *s; ",," stands for one comma inside it. */
int next_part(const char **s, struct part *ret, const char *opt, struct err *e) MUST_CHECK;
bool is_flag(const struct part *p, const char *name);
bool is_key(const struct part *p, const char *name);

/* -- cfg_dev.c: what devices are like ----------------------------------------- */

/* One part of --net that is about the NIC. Return: > 0 if it is none. */
int set_nic_part(struct net_config *n, const struct part *p, struct err *e) MUST_CHECK;
/* One part of --disk that is about the device, likewise. */
int set_disk_part(struct disk_config *d, const struct part *p, struct err *e) MUST_CHECK;
int set_balloon(struct vm_config *c, const char *val, struct err *e);
int set_boot_timer(struct vm_config *c, const char *val, struct err *e);
int set_transport(struct vm_config *c, const char *val, struct err *e);
int set_mmds(struct vm_config *c, const char *val, struct err *e);
int set_pmem(struct vm_config *c, const char *val, struct err *e);
int set_hotplug_memory(struct vm_config *c, const char *val, struct err *e);
int set_vhost_user(struct vm_config *c, const char *val, struct err *e);
int set_vsock(struct vm_config *c, const char *val, struct err *e);

#endif
