// SPDX-License-Identifier: Apache-2.0
/*
 * fc_cpu.c - what the guest's CPUID shows: PUT /cpu-config [firecracker.yaml CpuConfig]
 *
 * A template can change any register of any leaf, but only take features away: what a CPU model
 * does not offer stays off, with a line in the log. MSRs and capabilities of the host's
 * KVM cannot be changed.
 */
#include "api/api_int.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* "0x10", "0b101" or "12", of 32 bits. */
static bool parse_number32(const char *s, u32 *ret)
{
	unsigned base = !strncmp(s, "0x", 2) ? 16 : !strncmp(s, "0b", 2) ? 2 : 10;
	const char *digits = base == 16 ? "0123456789abcdefABCDEF" : base == 2 ? "01" : "0123456789";
	u64 v;

	s += base == 10 ? 0 : 2;
	if (!*s || s[strspn(s, digits)])
		return false;
	errno = 0;
	v = strtoull(s, NULL, (int)base);
	*ret = (u32)v;
	return !errno && v >> 32 == 0;
}

/* "0b", then up to 32 of 0, 1, x (leave it), most significant first; underscores do not count. */
static bool parse_bitmap(const char *s, u32 *mask, u32 *value)
{
	unsigned n = 0;

	*mask = *value = 0;
	if (strncmp(s, "0b", 2) != 0)
		return false;
	for (s += 2; *s; s++) {
		if (*s == '_')
			continue;
		if (!strchr("01x", *s) || ++n > 32)
			return false;
		*mask = *mask << 1 | (*s != 'x');
		*value = *value << 1 | (*s == '1');
	}
	return n != 0;
}

/* What a template changes. */
struct changes {
	struct cpuid_config c[CFG_CPUIDS];
	u32 nr;
};

static int add_leaf(struct changes *to, const struct fc_cpuid_leaf *l, struct err *e)
{
	struct cpuid_config c = { 0 };

	if (!parse_number32(l->leaf, &c.leaf) || !parse_number32(l->subleaf, &c.subleaf))
		return err_set(e, EINVAL, "cpuid_modifiers: leaf \"%s\", subleaf \"%s\": want numbers of "
					  "32 bits", l->leaf, l->subleaf);
	for (u32 k = 0; k < l->nr_regs; k++) {
		c.reg = l->reg[k].reg;
		if (!parse_bitmap(l->reg[k].bitmap, &c.mask, &c.value))
			return err_set(e, EINVAL, "cpuid_modifiers: bitmap \"%s\": want 0b and up to 32 of "
						  "0, 1, x", l->reg[k].bitmap);
		to->c[to->nr++] = c;
	}
	return 0;
}

int fc_put_cpu_config(struct api_call *c, struct err *e)
{
	const struct fc_cpu_config *b = c->body;
	struct changes changes = { .nr = 0 };
	struct fc *fc = &c->api->fc;

	_Static_assert(array_len(b->leaf) * array_len(b->leaf[0].reg) <= CFG_CPUIDS, "room for all");
	if (b->nr_msrs || b->nr_kvm_caps)
		return err_set(e, ENOTSUP, "msr_modifiers and kvm_capabilities are not supported: want "
					   "only cpuid_modifiers");
	for (u32 i = 0; i < b->nr_leaves; i++)
		TRY(add_leaf(&changes, &b->leaf[i], e));
	memcpy(fc->cpuid, changes.c, sizeof fc->cpuid);
	fc->nr_cpuids = changes.nr;
	json_decref(fc->cpu_config);
	fc->cpu_config = json_incref(c->json);
	return 0;
}

void fc_make_cpu(const struct fc *fc, struct vm_config *c)
{
	memcpy(c->cpuid, fc->cpuid, sizeof c->cpuid);
	c->nr_cpuids = fc->nr_cpuids;
	if (fc->machine.cpu_template != TEMPLATE_NONE)
		log_warn("cpu_template has no effect: want cpu-config");
}
