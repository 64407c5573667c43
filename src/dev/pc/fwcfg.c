// SPDX-License-Identifier: Apache-2.0
/*
 * fwcfg.c - firmware configuration device: selector and data port
 *
 * Follows the public fw_cfg interface (QEMU docs/specs/fw_cfg.rst): a 16-bit item
 * selector at 0x510, the item's bytes one by one at 0x511, zeros after its end.
 * Modelled: signature, revision, RAM size, CPU counts, an empty file directory.
 * Not modelled: DMA (revision says so), writing.
 */
#include "dev/pc/pc.h"

/* clang-format off */
enum {
	ITEM_SIGNATURE = 0x00, ITEM_ID = 0x01, ITEM_RAM_SIZE = 0x03, ITEM_NOGRAPHIC = 0x04,
	ITEM_NB_CPUS = 0x05, ITEM_MAX_CPUS = 0x0f, ITEM_FILE_DIR = 0x19,
};
/* clang-format on */

struct fwcfg {
	struct dev dev;
	struct fwcfg_config cfg;
	u16 item;
	u32 pos; /* byte within the item */
};

static const struct field fwcfg_state[] = {
	FIELD_NOT_SAVED(struct fwcfg, dev),
	FIELD_NOT_SAVED(struct fwcfg, cfg),
	FIELD(struct fwcfg, item),
	FIELD(struct fwcfg, pos),
	FIELD_END,
};

static struct fwcfg *to_fwcfg(struct dev *d)
{
	return container_of(d, struct fwcfg, dev);
}

/* The item's value as a little-endian integer of up to 8 bytes. */
static u64 item_value(const struct fwcfg *f)
{
	switch (f->item) {
	case ITEM_SIGNATURE: return 'Q' | 'E' << 8 | 'M' << 16 | 'U' << 24;
	case ITEM_ID: return 1; /* the traditional interface, no DMA */
	case ITEM_RAM_SIZE: return f->cfg.ram_size;
	case ITEM_NOGRAPHIC: return 1;
	case ITEM_NB_CPUS: return f->cfg.nr_cpus;
	case ITEM_MAX_CPUS: return f->cfg.max_cpus;
	case ITEM_FILE_DIR:
	default: return 0;
	}
}

static void fwcfg_write(struct dev *d, unsigned region UNUSED, u64 off, unsigned size, u64 val)
{
	struct fwcfg *f = to_fwcfg(d);

	if (off != 0 || size != 2) {
		dev_guest_error(d, "write to the data port");
		return;
	}
	f->item = (u16)val;
	f->pos = 0;
}

static u64 fwcfg_read(struct dev *d, unsigned region UNUSED, u64 off, unsigned size UNUSED)
{
	struct fwcfg *f = to_fwcfg(d);

	if (off == 0)
		return ~0ull; /* the selector is write-only */
	if (f->pos >= 8)
		return 0;
	return item_value(f) >> f->pos++ * 8 & 0xff;
}

static int fwcfg_init(struct dev *d, const void *cfg, struct err *e UNUSED)
{
	if (cfg)
		to_fwcfg(d)->cfg = *(const struct fwcfg_config *)cfg;
	return 0;
}

static void fwcfg_reset(struct dev *d)
{
	to_fwcfg(d)->item = 0;
	to_fwcfg(d)->pos = 0;
}

static const struct dev_region fwcfg_region[] = {
	{ .name = "ports", .space = SPACE_PIO, .size = 2, .acc_min = 1, .acc_max = 2 },
};

const struct dev_class fwcfg_class = {
	.name = "fw_cfg",
	.spec = "QEMU docs/specs/fw_cfg.rst",
	.size = sizeof(struct fwcfg),
	.region = fwcfg_region,
	.nr_regions = array_len(fwcfg_region),
	.state = fwcfg_state,
	.state_version = 1,
	.init = fwcfg_init,
	.reset = fwcfg_reset,
	.read = fwcfg_read,
	.write = fwcfg_write,
};
