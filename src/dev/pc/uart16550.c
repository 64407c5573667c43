// SPDX-License-Identifier: Apache-2.0
/*
 * uart16550.c - PC16550D serial port
 *
 * Follows National Semiconductor PC16550D (June 1995) as [16550].
 * Modelled: both FIFO modes, loopback, all four interrupt sources, flow control
 * towards a slow reader of our output: the transmitter fills up and THRE goes
 * away until the reader takes the bytes.
 * Not modelled: baud-rate delay (a byte is sent at once), parity and framing
 * errors and break (never occur), DMA mode bits (no effect), character time-out
 * delay (it is immediate).
 */
#include "dev/pc/pc.h"

#include "ui/chr.h"

#include <string.h>

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, NR_REGS };

/* clang-format off */
enum {
	IER_RX = 0x01, IER_TX = 0x02, IER_LINE = 0x04, IER_MODEM = 0x08,	/* [16550] 8.7 */
	IIR_NONE = 0x01, IIR_MODEM = 0x00, IIR_TX = 0x02, IIR_RX = 0x04,	/* 8.6 */
	IIR_LINE = 0x06, IIR_TIMEOUT = 0x0c, IIR_FIFO = 0xc0,
	FCR_ENABLE = 0x01, FCR_CLEAR_RX = 0x02, FCR_CLEAR_TX = 0x04,		/* 8.5 */
	LCR_DLAB = 0x80,							/* 8.1 */
	MCR_DTR = 0x01, MCR_RTS = 0x02, MCR_OUT1 = 0x04, MCR_OUT2 = 0x08,	/* 8.8 */
	MCR_LOOP = 0x10, MCR_MASK = 0x1f,
	LSR_DR = 0x01, LSR_OE = 0x02, LSR_THRE = 0x20, LSR_TEMT = 0x40,		/* 8.4 */
	MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80,		/* 8.9 */
};
/* clang-format on */

#define FIFO_LEN 16u

static const u8 trigger_level[4] = { 1, 4, 8, 14 }; /* [16550] 8.5, FCR bits 7:6 */

struct uart {
	struct dev dev;
	struct chr *chr;
	bool limited;
	struct ratelimit limit;

	u8 ier, fcr, lcr, mcr, lsr, scr; /* guest-visible registers */
	u8 msr_delta;			 /* MSR bits 3:0 */
	u16 divisor;			 /* DLM:DLL */
	u8 rx[FIFO_LEN];		 /* received, not yet read */
	u8 rx_head, rx_count;		 /* head: next to read */
	u8 tx[FIFO_LEN];		 /* written, not yet taken by chr */
	u8 tx_count;
	bool tx_pending; /* THRE interrupt not yet acknowledged */
	bool rx_starved; /* receive() was short: tell chr when there is room */
};

static const struct field uart_state[] = {
	FIELD_NOT_SAVED(struct uart, dev),
	FIELD_NOT_SAVED(struct uart, chr),
	FIELD_NOT_SAVED(struct uart, limited),
	FIELD_NOT_SAVED(struct uart, limit),
	FIELD(struct uart, ier, .max = 0x0f),
	FIELD(struct uart, fcr),
	FIELD(struct uart, lcr),
	FIELD(struct uart, mcr, .max = MCR_MASK),
	FIELD(struct uart, lsr),
	FIELD(struct uart, scr),
	FIELD(struct uart, msr_delta, .max = 0x0f),
	FIELD(struct uart, divisor),
	FIELD(struct uart, rx),
	FIELD(struct uart, rx_head, .max = FIFO_LEN - 1),
	FIELD(struct uart, rx_count, .max = FIFO_LEN),
	FIELD(struct uart, tx),
	FIELD(struct uart, tx_count, .max = FIFO_LEN),
	FIELD(struct uart, tx_pending),
	FIELD(struct uart, rx_starved),
	FIELD_END,
};

static struct uart *to_uart(struct dev *d)
{
	return container_of(d, struct uart, dev);
}

static unsigned fifo_cap(const struct uart *u)
{
	return u->fcr & FCR_ENABLE ? FIFO_LEN : 1;
}

static u8 irq_cause(const struct uart *u) /* highest priority first, [16550] table IV */
{
	if (u->ier & IER_LINE && u->lsr & LSR_OE)
		return IIR_LINE;
	if (u->ier & IER_RX && u->rx_count)
		return u->fcr & FCR_ENABLE && u->rx_count < trigger_level[u->fcr >> 6] ?
			       IIR_TIMEOUT : IIR_RX;
	if (u->ier & IER_TX && u->tx_pending)
		return IIR_TX;
	if (u->ier & IER_MODEM && u->msr_delta)
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_irq(struct uart *u)
{
	irq_set(&u->dev.env.irq[0], irq_cause(u) != IIR_NONE);
}

/* -- receive ------------------------------------------------------------------- */

static bool push_rx(struct uart *u, u8 byte)
{
	if (u->rx_count >= fifo_cap(u))
		return false;
	u->rx[(u->rx_head + u->rx_count++) % FIFO_LEN] = byte;
	return true;
}

static u8 pop_rx(struct uart *u)
{
	u8 byte = u->rx[u->rx_head];

	if (!u->rx_count)
		return 0;
	u->rx_head = (u8)((u->rx_head + 1) % FIFO_LEN);
	u->rx_count--;
	return byte;
}

static void ask_for_more(struct uart *u)
{
	if (!u->rx_starved || u->rx_count || u->mcr & MCR_LOOP)
		return;
	u->rx_starved = false;
	if (u->chr && u->chr->can_receive)
		u->chr->can_receive(u->chr);
}

static size_t uart_receive(void *dev, const void *buf, size_t len)
{
	struct uart *u = dev;
	const u8 *p = buf;
	size_t n = 0;

	while (n < len && !(u->mcr & MCR_LOOP) && push_rx(u, p[n]))
		n++;
	u->rx_starved = n < len;
	update_irq(u);
	return n;
}

/* -- transmit ------------------------------------------------------------------- */

/* Offer the waiting bytes to the outside; THRE comes back when all are gone. */
static void flush_tx(struct uart *u)
{
	size_t n = u->tx_count;

	if (u->chr && u->chr->write && n)
		n = u->chr->write(u->chr, u->tx, n);
	if (n > u->tx_count)
		n = u->tx_count;
	u->tx_count = (u8)(u->tx_count - n);
	memmove(u->tx, u->tx + n, u->tx_count);
	if (n && !u->tx_count)
		u->tx_pending = true;
}

static void uart_writable(void *dev)
{
	struct uart *u = dev;

	flush_tx(u);
	update_irq(u);
}

static void write_data(struct uart *u, u8 val)
{
	u->tx_pending = false;
	if (u->mcr & MCR_LOOP) {
		if (!push_rx(u, val))
			u->lsr |= LSR_OE;
		u->tx_pending = true;
		return;
	}
	if (u->tx_count >= fifo_cap(u)) {
		dev_guest_error(&u->dev, "transmitter overrun");
		return;
	}
	if (u->limited && !ratelimit_take(&u->limit, 0, 1)) {
		u->tx_pending = !u->tx_count; /* gone, as far as the guest can tell */
		return;
	}
	u->tx[u->tx_count++] = val;
	flush_tx(u);
}

/* -- modem lines ------------------------------------------------------------------ */

static u8 modem_lines(const struct uart *u)
{
	u8 m = u->mcr;

	if (!(m & MCR_LOOP)) /* somebody is always there */
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (u8)((m & MCR_RTS ? MSR_CTS : 0) | (m & MCR_DTR ? MSR_DSR : 0) | /* 8.8 */
		    (m & MCR_OUT1 ? MSR_RI : 0) | (m & MCR_OUT2 ? MSR_DCD : 0));
}

static void write_mcr(struct uart *u, u8 val)
{
	u8 was = modem_lines(u), changed;

	u->mcr = val & MCR_MASK;
	changed = was ^ modem_lines(u);
	/* CTS, DSR, DCD on any change; RI on its trailing edge. [16550] 8.9 */
	u->msr_delta |= (u8)((changed & (MSR_CTS | MSR_DSR | MSR_DCD)) >> 4 |
			     (changed & was & MSR_RI) >> 4);
	ask_for_more(u);
}

/* -- registers ---------------------------------------------------------------------- */

static void write_fcr(struct uart *u, u8 val)
{
	if ((u->fcr ^ val) & FCR_ENABLE)
		val |= FCR_CLEAR_RX | FCR_CLEAR_TX; /* 8.5: changing mode clears both */
	if (val & FCR_CLEAR_RX)
		u->rx_head = u->rx_count = 0;
	if (val & FCR_CLEAR_TX && u->tx_count) {
		u->tx_count = 0;
		u->tx_pending = true;
	}
	u->fcr = val & FCR_ENABLE ? val & 0xc9 : 0; /* the clear bits do not stay */
	ask_for_more(u);
}

static void write_ier(struct uart *u, u8 val)
{
	/* Enabling the transmitter interrupt raises it if THRE is set. */
	if (~u->ier & val & IER_TX && !u->tx_count)
		u->tx_pending = true;
	u->ier = val & 0x0f;
}

static void uart_write(struct dev *d, unsigned region UNUSED, u64 off, unsigned size UNUSED, u64 v)
{
	struct uart *u = to_uart(d);
	u8 val = (u8)v;

	if (u->lcr & LCR_DLAB && off <= REG_IER) {
		u->divisor = off == REG_DATA ? (u16)((u->divisor & 0xff00) | val)
					     : (u16)((u->divisor & 0x00ff) | val << 8);
		return;
	}
	switch (off) {
	case REG_DATA: write_data(u, val); break;
	case REG_IER: write_ier(u, val); break;
	case REG_IIR_FCR: write_fcr(u, val); break;
	case REG_LCR: u->lcr = val; break;
	case REG_MCR: write_mcr(u, val); break;
	case REG_SCR: u->scr = val; break;
	default: dev_guest_error(d, "write to a read-only register"); break;
	}
	update_irq(u);
}

static u8 read_iir(struct uart *u)
{
	u8 cause = irq_cause(u);

	if (cause == IIR_TX)
		u->tx_pending = false; /* reading IIR acknowledges THRE, table IV */
	return cause | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static u8 read_lsr(struct uart *u)
{
	u8 val = u->lsr | (u->tx_count ? 0 : LSR_THRE | LSR_TEMT) | (u->rx_count ? LSR_DR : 0);

	u->lsr = 0;
	return val;
}

static u8 read_data(struct uart *u)
{
	u8 val = pop_rx(u);

	ask_for_more(u);
	return val;
}

static u8 read_msr(struct uart *u)
{
	u8 val = modem_lines(u) | u->msr_delta;

	u->msr_delta = 0;
	return val;
}

static u64 uart_read(struct dev *d, unsigned region UNUSED, u64 off, unsigned size UNUSED)
{
	struct uart *u = to_uart(d);
	u8 val = 0xff;

	if (u->lcr & LCR_DLAB && off <= REG_IER)
		return (u8)(off == REG_DATA ? u->divisor : u->divisor >> 8);
	switch (off) {
	case REG_DATA: val = read_data(u); break;
	case REG_IER: val = u->ier; break;
	case REG_IIR_FCR: val = read_iir(u); break;
	case REG_LCR: val = u->lcr; break;
	case REG_MCR: val = u->mcr; break;
	case REG_LSR: val = read_lsr(u); break;
	case REG_MSR: val = read_msr(u); break;
	case REG_SCR: val = u->scr; break;
	}
	update_irq(u);
	return val;
}

/* -- lifecycle ------------------------------------------------------------------------ */

/* Nothing waits for the limit. */
static void limit_over(struct ratelimit *l UNUSED)
{
}

static int uart_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	const struct uart_config *c = cfg;
	struct uart *u = to_uart(d);

	if (c) {
		const struct ratelimit_cfg limit = { .bucket[RATELIMIT_BYTES] = c->limit };

		u->chr = c->chr;
		u->limited = ratelimit_any(&limit);
		if (u->limited)
			ratelimit_init(&u->limit, d->env.clock, &limit, limit_over);
	}
	if (u->chr) {
		u->chr->receive = uart_receive;
		u->chr->writable = uart_writable;
		u->chr->host_open = NULL;
		u->chr->dev = u;
	}
	return 0;
}

static void uart_fini(struct dev *d)
{
	struct uart *u = to_uart(d);

	if (u->limited)
		ratelimit_fini(&u->limit);
	if (!u->chr)
		return;
	u->chr->receive = NULL;
	u->chr->writable = NULL;
	u->chr->dev = NULL;
}

static void uart_reset(struct dev *d)
{
	struct uart *u = to_uart(d);

	u->ier = u->fcr = u->lcr = u->mcr = u->lsr = u->scr = 0; /* [16550] table I */
	u->msr_delta = 0;
	u->divisor = 12; /* 9600 baud at 1.8432 MHz */
	u->rx_head = u->rx_count = u->tx_count = 0;
	memset(u->rx, 0, sizeof u->rx);
	memset(u->tx, 0, sizeof u->tx);
	u->tx_pending = false;
	update_irq(u);
	ask_for_more(u);
}

static int uart_loaded(struct dev *d, struct err *e UNUSED)
{
	struct uart *u = to_uart(d);

	u->lsr &= LSR_OE;
	u->fcr = u->fcr & FCR_ENABLE ? u->fcr & 0xc9 : 0;
	flush_tx(u); /* the stream is another: it may take what the old one did not */
	update_irq(u);
	return 0;
}

static const struct dev_region uart_region[] = {
	{ .name = "regs", .space = SPACE_PIO, .size = NR_REGS, .acc_min = 1, .acc_max = 1 },
};

const struct dev_class uart16550_class = {
	.name = "ns16550a",
	.spec = "PC16550D, National Semiconductor, June 1995",
	.size = sizeof(struct uart),
	.region = uart_region,
	.nr_regions = array_len(uart_region),
	.state = uart_state,
	.state_version = 1,
	.init = uart_init,
	.fini = uart_fini,
	.reset = uart_reset,
	.read = uart_read,
	.write = uart_write,
	.loaded = uart_loaded,
};
