// SPDX-License-Identifier: Apache-2.0
/*
 * fake.h - a world of fakes in which any device class can be made
 *
 * For the generic tests and the fuzzer. Wires are counted, time is a fake clock,
 * byte streams take as much as chr_room allows.
 */
#ifndef DEV_ALL_FAKE_H
#define DEV_ALL_FAKE_H

#include "base/clock_fake.h"
#include "dev/all/all.h"
#include "dev/pc/pc.h"
#include "ui/chr.h"

struct fake {
	struct clock_fake clock;
	struct lapic_set lapics;
	struct chr chr;
	size_t chr_room;  /* bytes chr.write takes before it is full */
	u64 chr_bytes;	  /* taken so far */
	u64 wire_calls;	  /* irq_set() and message calls seen */
	u64 signals;	  /* lapic signals seen */
	u64 exits;	  /* debug exits and panics seen */
	struct irq wire;  /* counts; use for any output */
	struct dev_env env; /* every wire and the message sink count */
};

void fake_init(struct fake *f);

/* An instance of c in f's world, with a configuration that suits it. */
struct dev *fake_dev(struct fake *f, const struct dev_class *c, struct err *e) MUST_CHECK;

/* The configuration fake_dev() would use, for a caller with wires of its own. */
union fake_config {
	struct ioapic_config ioapic;
	struct lapic_config lapic;
	struct hpet_config hpet;
	struct rtc_config rtc;
	struct uart_config uart;
	struct debug_exit_config debug_exit;
	struct debugcon_config debugcon;
	struct testdev_config testdev;
	struct fwcfg_config fwcfg;
	struct pvpanic_config pvpanic;
	struct boot_timer_config boot_timer;
};
void fake_config(struct fake *f, const struct dev_class *c, union fake_config *ret);

#endif
