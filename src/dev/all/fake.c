// SPDX-License-Identifier: Apache-2.0
/* fake.c - see fake.h */
#include "dev/all/fake.h"

#include <string.h>

static void count_wire(void *chip, unsigned pin UNUSED, bool level UNUSED)
{
	((struct fake *)chip)->wire_calls++;
}

static void count_msi(void *ctx, u64 addr UNUSED, u32 data UNUSED)
{
	((struct fake *)ctx)->wire_calls++;
}

static void count_signal(void *ctx, enum lapic_signal what UNUSED, u8 arg UNUSED)
{
	((struct fake *)ctx)->signals++;
}

static void count_exit(void *ctx, u32 status UNUSED)
{
	((struct fake *)ctx)->exits++;
}

static void count_panic(void *ctx)
{
	((struct fake *)ctx)->exits++;
}

static u64 fake_tsc(void *ctx) /* 2 GHz */
{
	return ((struct fake *)ctx)->clock.now_ns * 2;
}

static size_t fake_write(struct chr *c, const void *buf UNUSED, size_t len)
{
	struct fake *f = container_of(c, struct fake, chr);
	size_t n = len < f->chr_room ? len : f->chr_room;

	f->chr_room -= n;
	f->chr_bytes += n;
	return n;
}

void fake_init(struct fake *f)
{
	memset(f, 0, sizeof *f);
	clock_fake_init(&f->clock);
	f->chr.write = fake_write;
	f->chr_room = SIZE_MAX;
	f->wire = (struct irq){ .set = count_wire, .chip = f };
	f->env.clock = &f->clock.clock;
	f->env.msi = (struct msi_sink){ .send = count_msi, .ctx = f };
	for (unsigned i = 0; i < DEV_MAX_IRQS; i++)
		f->env.irq[i] = f->wire;
}

void fake_config(struct fake *f, const struct dev_class *c, union fake_config *ret)
{
	memset(ret, 0, sizeof *ret);
	if (c == &lapic_class)
		ret->lapic = (struct lapic_config){
			.set = &f->lapics, .index = f->lapics.nr, .phys_bits = 40,
			.tsc_khz = 2000000, .tsc = fake_tsc, .signal = count_signal, .ctx = f,
		};
	else if (c == &hpet_class)
		ret->hpet.gsi = f->wire;
	else if (c == &testdev_class)
		ret->testdev.gsi = f->wire;
	else if (c == &rtc146818_class)
		ret->rtc = (struct rtc_config){ .mem_low = 3ull << 30, .mem_high = 1ull << 30 };
	else if (c == &uart16550_class)
		ret->uart.chr = &f->chr;
	else if (c == &debugcon_class)
		ret->debugcon.chr = &f->chr;
	else if (c == &debug_exit_class)
		ret->debug_exit = (struct debug_exit_config){ .exit = count_exit, .ctx = f };
	else if (c == &pvpanic_class)
		ret->pvpanic = (struct pvpanic_config){ .panicked = count_panic, .ctx = f };
	else if (c == &boot_timer_class)
		ret->boot_timer = (struct boot_timer_config){ .booted = count_panic, .ctx = f };
	else if (c == &fwcfg_class)
		ret->fwcfg = (struct fwcfg_config){ 4ull << 30, 2, 4 };
}

struct dev *fake_dev(struct fake *f, const struct dev_class *c, struct err *e)
{
	union fake_config cfg;

	fake_config(f, c, &cfg);
	return dev_new(c, c->name, &f->env, &cfg, e);
}
