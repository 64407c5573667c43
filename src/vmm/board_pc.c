// SPDX-License-Identifier: Apache-2.0
/*
 * board_pc.c - the schematic: every device, address and wire of the PC, top to bottom
 *
 *	0x00000000  RAM, up to 3 GiB		0xfec00000  I/O APIC
 *	0xc0000000  boot timer, virtio by MMIO	0xfed00000  HPET
 *	0xc0100000  PCI BARs
 *	0xe0000000  PCI configuration (ECAM)	0xfee00000  local APICs
 *	0x1_00000000  RAM above 3 GiB
 *
 * Interrupt lines 0-15 go to the PIC and the I/O APIC, 16-19 (PCI INTA-INTD) and
 * 20-23 (HPET) to the I/O APIC only.
 *
 * PCI slots: 0 host bridge, 1 rng, 2-5 net, 6-21 disk, 22-25 shared directories, 26
 * console of the guest's agent, 27 vsock, 28 balloon, 29 memory hot-plug, 30 and 31 pmem.
 */
#include "base/bits.h"
#include "base/log.h"
#include "blk/blk.h"
#include "dev/pci/pci.h"
#include "dev/virtio/virtio.h"
#include "net/net.h"
#include "vmm/agent.h"
#include "vmm/notice.h"
#include "vmm/vmm_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BOOT_TIMER    0xc0000000u
#define VIRTIO_MMIO   0xc0001000u
#define PCI_BAR_BASE  0xc0100000u
#define PCI_BAR_END   0xe0000000u
#define PCI_ECAM_BASE 0xe0000000ull
#define PANIC_PORT    0x505
#define SCI_IRQ       9
#define EVENT_IRQ     5
#define PHYS_BITS     46

enum { SLOT_RNG = 1, SLOT_NET = 2, SLOT_DISK = 6, SLOT_SHARE = 22, SLOT_AGENT = 26, SLOT_VSOCK,
       SLOT_BALLOON, SLOT_MEMORY };

/* -- wires that end outside the devices ------------------------------------------------- */

static void wire_reset(void *vm, unsigned pin UNUSED, bool level)
{
	if (level)
		vm_request_reset(vm);
}

static void wire_off(void *vm, unsigned pin UNUSED, bool level)
{
	if (level)
		vm_end(vm, VM_POWERED_OFF, 0);
}

static void wire_gsi(void *vm, unsigned gsi, bool level)
{
	struct irq q = chips_line(vm, gsi);

	irq_set(&q, level);
}

static void debug_exit(void *vm, u32 status)
{
	vm_end(vm, VM_DEBUG_EXIT, (int)(status & 0xff));
}

static void guest_panicked(void *vm)
{
	vm_end(vm, VM_PANICKED, VM_STATUS_PANIC);
}

/* In Firecracker's words, which its tools look for. */
static void guest_booted(void *ctx)
{
	struct vm *vm = ctx;
	char text[120];
	u64 us = (os_now_ns() - vm->made_ns) / 1000;
	u64 cpu = (os_cpu_ns() - vm->made_cpu_ns) / 1000;

	snprintf(text, sizeof text, "Guest-boot-time = %6llu us %llu ms, %6llu CPU us %llu CPU ms",
		 (unsigned long long)us, (unsigned long long)us / 1000, (unsigned long long)cpu,
		 (unsigned long long)cpu / 1000);
	log_info("%s", text);
	if (!log_wants(LOG_LEVEL_INFO))
		vm_say(vm, 0, "%s", text);
}

static size_t random_bytes(void *vm, void *buf, size_t len)
{
	return vm_random(vm, buf, len);
}

/* -- plugging in ------------------------------------------------------------------------ */

static struct dev *keep(struct vm *vm, struct dev *d)
{
	if (d)
		vm->dev[vm->nr_devs++] = d;
	return d;
}

/* A device with its first region at @base of the port space (or, above 64 Ki, of memory). */
static struct dev *plug(struct vm *vm, const struct dev_class *c, const char *id, u64 base,
			struct dev_env env, const void *cfg, struct err *e)
{
	struct dev *d;

	env.mem = vm->mem;
	env.clock = vm->clock;
	d = keep(vm, dev_new(c, id, &env, cfg, e));
	if (!d || bus_map(base > 0xffff ? vm->mmio : vm->pio, base, d, 0, e))
		return NULL;
	return d;
}

static int also_at(struct vm *vm, struct dev *d, unsigned region, u64 base, struct err *e)
{
	return bus_map(base > 0xffff ? vm->mmio : vm->pio, base, d, region, e);
}

static struct irq line(struct vm *vm, unsigned gsi)
{
	return chips_line(vm, gsi);
}

/* A new id, and the word that it is new; at power-on the guest just finds it. */
int board_new_generation(struct vm *vm, bool tell, struct err *e)
{
	struct irq q = line(vm, EVENT_IRQ);
	u8 id[16];

	if (vm_random(vm, id, sizeof id) != sizeof id)
		return err_set(e, EIO, "random numbers: the host has none");
	if (!mem_write(vm->mem, FW_GENERATION, id, sizeof id))
		return err_set(e, EINVAL, "generation id: no memory there");
	if (tell)
		irq_pulse(&q);
	return 0;
}

/* -- interrupt controllers ----------------------------------------------------------------- */

static int plug_lapics(struct vm *vm, struct err *e)
{
	const struct dev_env env = { .mem = vm->mem, .clock = vm->clock };

	for (unsigned i = 0; i < vm->cfg->nr_cpus; i++) {
		const struct lapic_config c = {
			.set = &vm->lapics,
			.index = i,
			.phys_bits = PHYS_BITS,
			.tsc_khz = cpu_tsc_khz(),
			.tsc = vcpus_tsc,
			.signal = vcpus_signal,
			.ctx = &vm->cpu[i],
			.passive = vm->engine->chips != NULL,
		};

		vm->cpu[i].lapic = keep(vm, dev_new(&lapic_class, "lapic", &env, &c, e));
		if (!vm->cpu[i].lapic)
			return -e->code;
	}
	return 0;
}

static int plug_interrupts(struct vm *vm, struct err *e)
{
	const struct ioapic_config cfg = chips_ioapic(vm);
	struct dev *pic, *ioapic;

	pic = plug(vm, &pic8259_class, "pic", 0x20,
		   (struct dev_env){ .irq = { chips_intr(vm) } }, NULL, e);
	if (!pic)
		return -e->code;
	TRY(also_at(vm, pic, 1, 0xa0, e));
	TRY(also_at(vm, pic, 2, 0x4d0, e));
	ioapic = plug(vm, &ioapic_class, "ioapic", IOAPIC_BASE,
		      (struct dev_env){ .msi = chips_ioapic_msi(vm) }, &cfg, e);
	if (!ioapic)
		return -e->code;
	vm->irqs = (struct pc_irqs){ .pic = pic, .ioapic = ioapic };
	vm->lapics.pic = pic;
	vm->lapics.eoi = ioapic_eoi;
	vm->lapics.eoi_ctx = ioapic;
	return plug_lapics(vm, e);
}

/* -- timers and the small parts --------------------------------------------------------------- */

static int plug_timers(struct vm *vm, struct err *e)
{
	const struct hpet_config hpet = { .gsi = { .set = wire_gsi, .chip = vm } };
	const struct rtc_config rtc = { .mem_low = mem_low_size(vm->mem),
					.mem_high = mem_high_size(vm->mem) };
	struct dev *d;

	d = plug(vm, &pit8254_class, "pit", 0x40, (struct dev_env){ .irq = { line(vm, 0) } }, NULL,
		 e);
	if (!d || also_at(vm, d, 1, 0x61, e))
		return -e->code;
	d = plug(vm, &rtc146818_class, "rtc", 0x70, (struct dev_env){ .irq = { line(vm, 8) } },
		 &rtc, e);
	if (!d)
		return -e->code;
	d = plug(vm, &hpet_class, "hpet", HPET_BASE, (struct dev_env){ 0 }, &hpet, e);
	return d ? 0 : -e->code;
}

static int plug_control(struct vm *vm, struct err *e)
{
	const struct irq reset = { .set = wire_reset, .chip = vm };
	const struct irq off = { .set = wire_off, .chip = vm };
	const struct dev_env kbc = { .irq = { [I8042_IRQ1] = line(vm, 1), [I8042_RESET] = reset } };
	const struct dev_env p92 = { .irq = { [PORT92_RESET] = reset } };
	const struct dev_env pm = { .irq = { [PMACPI_SCI] = line(vm, SCI_IRQ),
					     [PMACPI_RESET] = reset,
					     [PMACPI_OFF] = off } };
	const struct pvpanic_config panic = { .panicked = guest_panicked, .ctx = vm };
	struct dev *d;

	d = plug(vm, &i8042_class, "kbc", 0x60, kbc, NULL, e);
	if (!d || also_at(vm, d, 1, 0x64, e))
		return -e->code;
	if (!plug(vm, &port92_class, "port92", 0x92, p92, NULL, e))
		return -e->code;
	vm->pm = plug(vm, &pmacpi_class, "pm", PMACPI_BASE, pm, NULL, e);
	if (!vm->pm || also_at(vm, vm->pm, 1, PMACPI_RESET_PORT, e))
		return -e->code;
	if (!plug(vm, &pvpanic_class, "pvpanic", PANIC_PORT, (struct dev_env){ 0 }, &panic, e))
		return -e->code;
	return 0;
}

static int plug_serial(struct vm *vm, struct err *e)
{
	const struct uart_config uart = { .chr = vm->serial,
					  .limit = ends_bucket(&vm->cfg->serial_limit) };
	const struct debugcon_config con = { .chr = NULL };

	if (!plug(vm, &uart16550_class, "com1", 0x3f8, (struct dev_env){ .irq = { line(vm, 4) } },
		  &uart, e))
		return -e->code;
	return plug(vm, &debugcon_class, "debugcon", 0xe9, (struct dev_env){ 0 }, &con, e)
		       ? 0
		       : -e->code;
}

static int plug_test_devices(struct vm *vm, struct err *e)
{
	static const u64 testdev_at[] = { 0xe0, 0xe4, 0xe8, 0x2000, 0xff000000 };
	const struct debug_exit_config ex = { .exit = debug_exit, .ctx = vm };
	const struct testdev_config td = { .gsi = { .set = wire_gsi, .chip = vm } };
	const struct fwcfg_config fw = { .ram_size = mem_size(vm->mem),
					 .nr_cpus = (u16)vm->cfg->nr_cpus,
					 .max_cpus = (u16)vm->cfg->nr_cpus };
	struct dev *d;

	if (vm->cfg->debug_exit || vm->cfg->test_device)
		if (!plug(vm, &debug_exit_class, "debug-exit", 0xf4, (struct dev_env){ 0 }, &ex, e))
			return -e->code;
	if (!vm->cfg->test_device)
		return 0;
	d = plug(vm, &testdev_class, "testdev", testdev_at[0], (struct dev_env){ 0 }, &td, e);
	if (!d)
		return -e->code;
	for (unsigned i = 1; i < array_len(testdev_at); i++)
		TRY(also_at(vm, d, i, testdev_at[i], e));
	return plug(vm, &fwcfg_class, "fwcfg", 0x510, (struct dev_env){ 0 }, &fw, e) ? 0 : -e->code;
}

static int plug_boot_timer(struct vm *vm, struct err *e)
{
	const struct boot_timer_config c = { .booted = guest_booted, .ctx = vm };

	if (!vm->cfg->boot_timer)
		return 0;
	return plug(vm, &boot_timer_class, "boot-timer", BOOT_TIMER, (struct dev_env){ 0 }, &c, e) ?
		       0 :
		       -e->code;
}

/* -- PCI and virtio ------------------------------------------------------------------------------
 */

static int plug_pci(struct vm *vm, struct err *e)
{
	const struct dev_env env = { .mem = vm->mem, .clock = vm->clock };
	struct pci_host_cfg c = {
		.pio = vm->pio,
		.mmio = vm->mmio,
		.ecam_base = PCI_ECAM_BASE,
	};

	for (unsigned i = 0; i < PCI_NR_PINS; i++) {
		c.intx[i] = line(vm, 16 + i);
		c.intx_line[i] = (u8)(16 + i);
	}
	vm->pci = pci_host_new(&c, "pci", &env, e);
	return vm->pci ? 0 : -e->code;
}

static int plug_virtio(struct vm *vm, unsigned slot, const struct virtio_class *c, const char *id,
		       const void *cfg, struct err *e)
{
	const struct dev_env env = {
		.mem = vm->mem,
		.clock = vm->clock,
		.msi = chips_msi(vm),
		.doorbells = doorbells_of(vm),
	};

	struct dev *d = vm->cfg->transport == CFG_TRANSPORT_MMIO ?
				board_mmio_plug(vm, c, id, cfg, e) :
				virtio_pci_new(c, cfg, vm->pci, slot, id, &env, e);

	if (!keep(vm, d))
		return -e->code;
	if (vm->cfg->test_device) /* every guest's driver takes split rings */
		virtio_offer_packed(d);
	return doorbells_add(vm, d, e);
}

static int plug_nets(struct vm *vm, struct err *e)
{
	unsigned slot = SLOT_NET;

	for (unsigned i = 0; i < vm->cfg->nr_nets; i++) {
		const struct net_config *n = &vm->cfg->net[i];
		struct virtio_net_cfg c = {
			.port = { vm->mmds_port[i] ? vm->mmds_port[i] : vm->net[i] },
			.nr_pairs = 1 + n->nr_queues,
			.mac = { 0x52, 0x54, 0x00, 0x56, 0x52, (u8)i },
			.mtu = (u16)n->mtu,
			.rx = ends_limit(&n->rx_limit),
			.tx = ends_limit(&n->tx_limit),
		};

		if (!vm->net[i])
			continue;
		memcpy(c.port + 1, vm->net_queue[i], sizeof vm->net_queue[i]);
		if (*n->mac && !cfg_parse_mac(n->mac, c.mac))
			return err_set(e, EINVAL, "net: %s: want a MAC address", n->mac);
		TRY(plug_virtio(vm, slot++, &virtio_net_class, "net", &c, e));
		vm->nic[i] = vm->dev[vm->nr_devs - 1];
	}
	return 0;
}

static int plug_balloon(struct vm *vm, struct err *e)
{
	const struct balloon_config *b = &vm->cfg->balloon;
	const struct virtio_balloon_cfg c = {
		.pages = b->amount_mib << 8,
		.poll_s = b->stats_polling_s,
		.deflate_on_oom = b->deflate_on_oom,
		.hinting = b->hinting,
		.reporting = b->reporting,
	};

	TRY(plug_virtio(vm, SLOT_BALLOON, &virtio_balloon_class, "balloon", &c, e));
	vm->balloon = vm->dev[vm->nr_devs - 1];
	return 0;
}

static int plug_memhp(struct vm *vm, struct err *e)
{
	const struct memhp_config *m = &vm->cfg->memhp;
	const struct virtio_mem_cfg c = { .addr = memory_hotplug_base(vm),
					  .size = (u64)m->total_mib << 20,
					  .block = (u64)m->block_mib << 20,
					  .wanted = (u64)m->requested_mib << 20 };

	TRY(plug_virtio(vm, SLOT_MEMORY, &virtio_mem_class, "memory", &c, e));
	vm->memhp = vm->dev[vm->nr_devs - 1];
	return 0;
}

/* In the last slots that are free, the first of them in the lowest: guests number by slot. */
static int plug_pmems(struct vm *vm, struct err *e)
{
	unsigned slot = PCI_NR_SLOTS;

	for (u32 n = vm->cfg->nr_pmems; n; n -= !pci_host_slot(vm->pci, slot))
		if (--slot == 0)
			return err_set(e, ENOSPC, "pmem: no PCI slot is free");
	for (u32 i = 0; i < vm->cfg->nr_pmems; i++, slot++) {
		const struct virtio_pmem_cfg c = { .start = vm->pmem[i].gpa,
						   .size = vm->pmem[i].len,
						   .blk = vm->pmem[i].blk,
						   .limit = ends_limit(&vm->cfg->pmem[i].limit) };

		while (pci_host_slot(vm->pci, slot))
			slot++;
		TRY(plug_virtio(vm, slot, &virtio_pmem_class, "pmem", &c, e));
		vm->pmem[i].dev = vm->dev[vm->nr_devs - 1];
	}
	return 0;
}

static int plug_vhosts(struct vm *vm, struct err *e)
{
	unsigned slot = SLOT_DISK;

	for (u32 i = 0; i < vm->cfg->nr_vhosts; i++) {
		struct vhost_device d;

		while (slot < PCI_NR_SLOTS && pci_host_slot(vm->pci, slot))
			slot++;
		if (slot == PCI_NR_SLOTS)
			return err_set(e, ENOSPC, "--vhost-user: no PCI slot is free");
		TRY(vhosts_device(vm, i, &d, e));
		TRY(plug_virtio(vm, slot, d.class, "vhost-user", &d.cfg, e));
	}
	return 0;
}

static int plug_virtio_devices(struct vm *vm, struct err *e)
{
	const struct virtio_rng_cfg rng = { .fill = random_bytes,
					    .ctx = vm,
					    .limit = ends_limit(&vm->cfg->rng_limit) };

	TRY(plug_virtio(vm, SLOT_RNG, &virtio_rng_class, "rng", &rng, e));
	TRY(plug_nets(vm, e));
	for (unsigned i = 0; i < vm->cfg->nr_disks; i++) {
		const struct virtio_blk_cfg c = disks_device(vm, i);

		TRY(plug_virtio(vm, SLOT_DISK + i, &virtio_blk_class, "disk", &c, e));
		vm->disk[i].dev = vm->dev[vm->nr_devs - 1];
	}
	for (unsigned i = 0; i < vm->cfg->nr_shares; i++) {
		const struct share_config *s = &vm->cfg->share[i];
		const struct virtio_share_cfg c = { .dir_fd = s->fd,
						 .tag = s->tag,
						 .read_only = s->read_only };

		TRY(plug_virtio(vm, SLOT_SHARE + i, &virtio_fs_class, "share", &c, e));
	}
	if (vm->cfg->balloon.present)
		TRY(plug_balloon(vm, e));
	if (vm->cfg->memhp.present)
		TRY(plug_memhp(vm, e));
	if (vm->vsock) {
		const struct virtio_vsock_cfg c = { .guest_cid = vm->cfg->vsock.cid,
						 .backend = vm->vsock };

		TRY(plug_virtio(vm, SLOT_VSOCK, &virtio_vsock_class, "vsock", &c, e));
	}
	if (vm->agent || vm->notice) {
		struct virtio_console_cfg c;

		if (vm->agent)
			agent_ports(vm->agent, &c);
		else
			notice_port(vm->notice, &c);
		TRY(plug_virtio(vm, SLOT_AGENT, &virtio_console_class, "agent", &c, e));
	}
	TRY(plug_vhosts(vm, e));
	return plug_pmems(vm, e);
}

/* -- the whole
 * ---------------------------------------------------------------------------------------- */

static void describe(struct vm *vm)
{
	vm->board = (struct fw_board){
		.nr_cpus = vm->cfg->nr_cpus,
		.lapic_base = LAPIC_BASE,
		.ioapic_base = IOAPIC_BASE,
		.hpet_base = HPET_BASE,
		.pm_base = PMACPI_BASE,
		.sci_irq = SCI_IRQ,
		.reset_port = PMACPI_RESET_PORT,
		.ecam_base = PCI_ECAM_BASE,
		.nr_buses = 1,
		.mmio32_base = PCI_BAR_BASE,
		.mmio32_end = PCI_BAR_END,
		.panic_port = PANIC_PORT,
		.event_gsi = EVENT_IRQ,
		.mmio_base = VIRTIO_MMIO,
		.has_com1 = true,
		.vm_name = vm->cfg->name,
		.mem_size = mem_size(vm->mem),
	};
}

int board_new(struct vm *vm, struct err *e)
{
	vm->pio = bus_new();
	vm->mmio = bus_new();
	if (!vm->pio || !vm->mmio)
		return err_set(e, 12, "board: out of host memory");
	describe(vm);
	TRY(plug_interrupts(vm, e));
	TRY(plug_timers(vm, e));
	TRY(plug_control(vm, e));
	TRY(plug_serial(vm, e));
	TRY(plug_test_devices(vm, e));
	TRY(plug_boot_timer(vm, e));
	TRY(plug_pci(vm, e));
	return plug_virtio_devices(vm, e);
}

void board_free(struct vm *vm)
{
	while (vm->nr_devs)
		dev_free(vm->dev[--vm->nr_devs]);
	if (vm->pci)
		pci_host_free(vm->pci);
	if (vm->pio)
		bus_free(vm->pio);
	if (vm->mmio)
		bus_free(vm->mmio);
}

static void call(void (*fn)(struct dev *d), struct dev *d)
{
	if (fn)
		fn(d);
}

void board_pause(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_devs; i++)
		call(vm->dev[i]->class->pause, vm->dev[i]);
}

void board_resume(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_devs; i++)
		call(vm->dev[i]->class->resume, vm->dev[i]);
}

void board_reset(struct vm *vm)
{
	struct dev *host = pci_host_dev(vm->pci);

	board_pause(vm);
	call(host->class->reset, host);
	for (unsigned i = 0; i < vm->nr_devs; i++)
		call(vm->dev[i]->class->reset, vm->dev[i]);
	board_resume(vm);
}

int board_assign_pci(struct vm *vm, struct err *e)
{
	return pci_host_assign(vm->pci, PCI_BAR_BASE, PCI_BAR_END - PCI_BAR_BASE, e);
}
