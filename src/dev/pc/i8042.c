// SPDX-License-Identifier: Apache-2.0
/*
 * i8042.c - keyboard controller with nothing plugged in
 *
 * Follows Intel 8242 (290472-003) and the IBM PS/2 technical reference (1988) as
 * [PS2]; commands as PC firmware and kernels use them.
 * Modelled: status and output buffer, self tests, command byte, output port with
 * A20 and CPU reset, IRQ 1.
 * Not modelled: keyboard and mouse. Bytes sent to them are answered at once with
 * "resend" and the time-out bit, so that a guest's probe ends quickly.
 */
#include "dev/pc/pc.h"

#include "base/bits.h"

enum { REGION_DATA, REGION_COMMAND };

/* clang-format off */
enum {	/* status register */
	ST_OBF = 0x01, ST_SYS = 0x04, ST_CMD = 0x08, ST_UNLOCKED = 0x10, ST_TIMEOUT = 0x40,
};
enum {	/* command byte */
	CTR_IRQ1 = 0x01, CTR_SYS = 0x04, CTR_NO_KBD = 0x10, CTR_NO_AUX = 0x20, CTR_XLATE = 0x40,
};
enum {	/* output port */
	OUT_NO_RESET = 0x01, OUT_A20 = 0x02, OUT_IDLE = 0xcf,
};
enum {	/* commands at port 0x64 */
	CMD_READ_CTR = 0x20, CMD_WRITE_CTR = 0x60, CMD_AUX_OFF = 0xa7, CMD_AUX_ON = 0xa8,
	CMD_AUX_TEST = 0xa9, CMD_SELF_TEST = 0xaa, CMD_KBD_TEST = 0xab, CMD_KBD_OFF = 0xad,
	CMD_KBD_ON = 0xae, CMD_READ_IN = 0xc0, CMD_READ_OUT = 0xd0, CMD_WRITE_OUT = 0xd1,
	CMD_KBD_LOOP = 0xd2, CMD_AUX_LOOP = 0xd3, CMD_TO_AUX = 0xd4, CMD_A20_OFF = 0xdd,
	CMD_A20_ON = 0xdf, CMD_PULSE = 0xf0,
};
/* clang-format on */

struct i8042 {
	struct dev dev;
	u8 ctr, outport;
	u8 cmd;	     /* waiting for its argument at port 0x60, 0 = none */
	u8 last_was; /* ST_CMD if the last write went to port 0x64 */
	u8 obuf;
	bool full;	/* obuf holds a byte the guest has not read */
	bool from_kbd;	/* that byte raises IRQ 1 */
	bool timeout;	/* and carries the time-out bit */
};

static const struct field i8042_state[] = {
	FIELD_NOT_SAVED(struct i8042, dev),
	FIELD(struct i8042, ctr),
	FIELD(struct i8042, outport),
	FIELD(struct i8042, cmd),
	FIELD(struct i8042, last_was, .max = ST_CMD),
	FIELD(struct i8042, obuf),
	FIELD(struct i8042, full),
	FIELD(struct i8042, from_kbd),
	FIELD(struct i8042, timeout),
	FIELD_END,
};

static struct i8042 *to_i8042(struct dev *d)
{
	return container_of(d, struct i8042, dev);
}

static void update_irq(struct i8042 *k)
{
	irq_set(&k->dev.env.irq[I8042_IRQ1], k->full && k->from_kbd && k->ctr & CTR_IRQ1);
}

static void reply(struct i8042 *k, u8 val)
{
	k->obuf = val;
	k->full = true;
	k->from_kbd = k->timeout = false;
	update_irq(k);
}

/* A byte went to a device that is not there. [PS2] "Keyboard controller: time-out" */
static void no_device(struct i8042 *k)
{
	reply(k, 0xfe);
	k->from_kbd = k->timeout = true;
	update_irq(k);
}

static void set_outport(struct i8042 *k, u8 val)
{
	bool a20 = val & OUT_A20;

	if (a20 != !!(k->outport & OUT_A20))
		irq_set(&k->dev.env.irq[I8042_A20], a20);
	k->outport = val | OUT_NO_RESET;
	if (!(val & OUT_NO_RESET))
		irq_pulse(&k->dev.env.irq[I8042_RESET]);
}

static void set_ctr(struct i8042 *k, u8 val)
{
	k->ctr = val;
	update_irq(k);
}

static void command(struct i8042 *k, u8 cmd)
{
	k->cmd = 0;
	switch (cmd) {
	case CMD_READ_CTR: reply(k, k->ctr); break;
	case CMD_AUX_OFF: set_ctr(k, k->ctr | CTR_NO_AUX); break;
	case CMD_AUX_ON: set_ctr(k, k->ctr & (u8)~CTR_NO_AUX); break;
	case CMD_AUX_TEST: reply(k, 0x01); break; /* clock line stuck low: no port */
	case CMD_SELF_TEST: reply(k, 0x55); break;
	case CMD_KBD_TEST: reply(k, 0x00); break;
	case CMD_KBD_OFF: set_ctr(k, k->ctr | CTR_NO_KBD); break;
	case CMD_KBD_ON: set_ctr(k, k->ctr & (u8)~CTR_NO_KBD); break;
	case CMD_READ_IN: reply(k, 0x80); break; /* not locked */
	case CMD_READ_OUT: reply(k, k->outport); break;
	case CMD_A20_OFF: set_outport(k, k->outport & (u8)~OUT_A20); break;
	case CMD_A20_ON: set_outport(k, k->outport | OUT_A20); break;
	case CMD_WRITE_CTR: case CMD_WRITE_OUT: case CMD_KBD_LOOP: case CMD_AUX_LOOP:
	case CMD_TO_AUX:
		k->cmd = cmd;
		break;
	default:
		if (cmd < CMD_PULSE)
			dev_guest_error(&k->dev, "unknown command");
		else if (!(cmd & 1)) /* pulses output port bit 0, the CPU's reset */
			irq_pulse(&k->dev.env.irq[I8042_RESET]);
	}
}

static void write_data(struct i8042 *k, u8 val)
{
	u8 cmd = k->cmd;

	k->cmd = 0;
	switch (cmd) {
	case CMD_WRITE_CTR: set_ctr(k, val); break;
	case CMD_WRITE_OUT: set_outport(k, val); break;
	case CMD_KBD_LOOP:
		reply(k, val);
		k->from_kbd = true;
		update_irq(k);
		break;
	case CMD_AUX_LOOP: /* without the AUX bit in status: there is no such port */
		reply(k, val);
		break;
	default:
		no_device(k);
	}
}

static void i8042_write(struct dev *d, unsigned region, u64 off UNUSED, unsigned size UNUSED,
			u64 val)
{
	struct i8042 *k = to_i8042(d);

	k->last_was = region == REGION_COMMAND ? ST_CMD : 0;
	if (region == REGION_COMMAND)
		command(k, (u8)val);
	else
		write_data(k, (u8)val);
}

static u64 i8042_read(struct dev *d, unsigned region, u64 off UNUSED, unsigned size UNUSED)
{
	struct i8042 *k = to_i8042(d);

	if (region == REGION_COMMAND)
		return (k->full ? ST_OBF : 0) | (k->ctr & CTR_SYS) | k->last_was | ST_UNLOCKED |
		       (k->full && k->timeout ? ST_TIMEOUT : 0);
	k->full = k->timeout = false;
	update_irq(k);
	return k->obuf;
}

static void i8042_reset(struct dev *d)
{
	struct i8042 *k = to_i8042(d);

	/* As firmware leaves it: self test passed, A20 open, no second port. */
	k->ctr = CTR_IRQ1 | CTR_SYS | CTR_NO_AUX | CTR_XLATE;
	k->outport = OUT_IDLE;
	k->cmd = k->last_was = k->obuf = 0;
	k->full = k->from_kbd = k->timeout = false;
	update_irq(k);
	irq_set(&d->env.irq[I8042_A20], true);
}

static int i8042_loaded(struct dev *d, struct err *e UNUSED)
{
	struct i8042 *k = to_i8042(d);

	k->last_was &= ST_CMD;
	update_irq(k);
	irq_set(&d->env.irq[I8042_A20], k->outport & OUT_A20);
	return 0;
}

static const struct dev_region i8042_region[] = {
	{ .name = "data", .space = SPACE_PIO, .size = 1, .acc_min = 1, .acc_max = 1 },
	{ .name = "command", .space = SPACE_PIO, .size = 1, .acc_min = 1, .acc_max = 1 },
};

const struct dev_class i8042_class = {
	.name = "i8042",
	.spec = "Intel 8242, 290472-003",
	.size = sizeof(struct i8042),
	.region = i8042_region,
	.nr_regions = array_len(i8042_region),
	.state = i8042_state,
	.state_version = 1,
	.reset = i8042_reset,
	.read = i8042_read,
	.write = i8042_write,
	.loaded = i8042_loaded,
};
