// SPDX-License-Identifier: Apache-2.0
/*
 * virtio.h - virtio devices and their two transports
 *
 * Follows Virtual I/O Device 1.2 as [virtio]; modern (VIRTIO_F_VERSION_1) only. A
 * device model is a struct whose first member is a struct virtio and one const
 * struct virtio_class; it works on virtqueues (vq.h) and knows no transport. A
 * transport (PCI or MMIO) is a struct dev that owns the device behind it: freeing,
 * resetting, pausing and resuming the transport does the same to the device.
 *
 * Context: board lock held for everything here; queue notifications run inline.
 */
#ifndef DEV_VIRTIO_VIRTIO_H
#define DEV_VIRTIO_VIRTIO_H

#include "base/ratelimit.h"
#include "dev/dev.h"
#include "dev/virtio/vq.h"

#define VIRTIO_MAX_QUEUES 16
#define VIRTIO_CONFIG_MAX 256

struct blk;
struct chr;
struct net_port;
struct pci_host;
struct vhost_user;
struct vsock_backend;
struct virtio;
struct virtio_class;

/* -- construction, for the board --------------------------------------------------------- */

/*
 * A virtio device in slot @slot of @h. @cfg is the class's config struct below; what
 * it points to must outlive the device. env: msi, mem, clock.
 */
struct dev *virtio_pci_new(const struct virtio_class *c, const void *cfg, struct pci_host *h,
			   unsigned slot, const char *id, const struct dev_env *env,
			   struct err *e) MUST_CHECK;

/* The same behind the MMIO transport. The caller maps region 0 (VIRTIO_MMIO_SIZE bytes) at @base. */
#define VIRTIO_MMIO_SIZE 0x200
struct dev *virtio_mmio_new(const struct virtio_class *c, const void *cfg, gpa_t base,
			    const char *id, const struct dev_env *env, struct err *e) MUST_CHECK;

/* The device model behind a transport (its state is saved beside the transport's), or NULL. */
struct dev *virtio_behind(struct dev *transport);

/* For who has the doorbells (dev.h): how many there are, and one rang. */
unsigned virtio_queues(struct dev *transport);
void virtio_ring(struct dev *transport, unsigned n);

/* Also offer the packed ring layout; before the guest runs. */
void virtio_offer_packed(struct dev *transport);

extern const struct virtio_class virtio_blk_class, virtio_net_class, virtio_console_class,
	virtio_rng_class, virtio_vsock_class, virtio_9p_class, virtio_fs_class,
	virtio_balloon_class, virtio_pmem_class, virtio_mem_class,
	virtio_vhost_net_class, virtio_vhost_blk_class, virtio_vhost_fs_class;

struct virtio_blk_cfg {
	struct blk *blk;
	const char *serial; /* at most 20 bytes are used; may be NULL */
	bool read_only;	    /* also if the node is */
	bool no_flush;	    /* flushing is not offered, and not done */
	bool write_through; /* a write is on the disk before it completes, whatever the guest says */
	u16 nr_queues;	    /* 0 = 1; at most VIRTIO_MAX_QUEUES */
	struct ratelimit_cfg limit;
};

/*
 * Of a running block device; @d is the transport. A new limit holds at once. Another
 * node takes over after what is in flight has completed; the old one is the caller's. A
 * new size is announced to the guest.
 */
void virtio_blk_set_limit(struct dev *d, enum ratelimit_kind k,
			  const struct ratelimit_bucket_cfg *cfg);
void virtio_blk_get_limit(struct dev *d, struct ratelimit_cfg *ret);
void virtio_blk_set_blk(struct dev *d, struct blk *blk);
void virtio_blk_resized(struct dev *d);

#define VIRTIO_NET_MAX_PAIRS 4

struct virtio_net_cfg {
	struct net_port *port[VIRTIO_NET_MAX_PAIRS]; /* one per pair; the first may be NULL: link down */
	unsigned nr_pairs; /* of queues; 0 = 1 */
	u8 mac[6];
	u16 mtu; /* 0 = not announced */
	struct ratelimit_cfg rx, tx; /* frames and their bytes, to the guest and from it */
};

/* Change a limit of a running NIC; @d is the transport. */
void virtio_net_limit(struct dev *d, bool tx, enum ratelimit_kind k,
		      const struct ratelimit_bucket_cfg *cfg);

#define VIRTIO_CONSOLE_MAX_PORTS 7

struct virtio_console_cfg {
	unsigned nr_ports; /* 1.. VIRTIO_CONSOLE_MAX_PORTS */
	struct {
		const char *name; /* "/dev/virtio-ports/NAME"; may be NULL */
		struct chr *chr;
		bool console; /* hvcN; port 0 should be */
	} port[VIRTIO_CONSOLE_MAX_PORTS];
	u16 cols, rows; /* 0 = unknown */
};

/* @d is the transport. */
void virtio_console_resize(struct dev *d, u16 cols, u16 rows);

struct virtio_rng_cfg {
	size_t (*fill)(void *ctx, void *buf, size_t len); /* never blocks; returns bytes */
	void *ctx;
	struct ratelimit_cfg limit; /* requests and their bytes */
};

struct virtio_vsock_cfg {
	u64 guest_cid; /* 3 or more */
	struct vsock_backend *backend; /* net/vsock.h */
};

struct virtio_balloon_cfg {
	u32 pages;	     /* target at the start, 4 KiB each */
	u32 poll_s;	     /* seconds between reports of statistics; 0 = none, ever */
	bool deflate_on_oom; /* the guest may take pages back rather than run out of memory */
	bool hinting, reporting; /* of free pages */
};

#define VIRTIO_BALLOON_STATS 16 /* tags of [virtio 5.5.6.3], and Linux's 10 to 15 */

struct virtio_balloon_info {
	u32 target, actual; /* pages */
	u32 host_cmd, guest_cmd; /* of hinting: 0 stop, 1 done, from 2 on a run's number */
	bool guest_has_cmd, running;
	u32 stats_known; /* bit n: stats[n] was reported */
	u64 stats[VIRTIO_BALLOON_STATS];
};

/* @d is the transport. */
void virtio_balloon_resize(struct dev *d, u32 pages);
void virtio_balloon_poll(struct dev *d, u32 seconds); /* not 0 if it was not 0 at the start */
/* Start or stop a run of hints; -ENODEV without a driver that does it. */
int virtio_balloon_hint(struct dev *d, bool start, bool ack_on_stop) MUST_CHECK;
void virtio_balloon_get(struct dev *d, struct virtio_balloon_info *ret);

struct virtio_pmem_cfg {
	gpa_t start; /* where the file is mapped, multiples of 2 MiB */
	u64 size;
	struct blk *blk; /* to flush it; NULL: flushing does nothing */
	struct ratelimit_cfg limit; /* flushes; bytes do not count */
};

void virtio_pmem_limit(struct dev *d, enum ratelimit_kind k,
		       const struct ratelimit_bucket_cfg *cfg); /* @d is the transport */

#define VIRTIO_MEM_BLOCKS 32768

struct virtio_mem_cfg {
	gpa_t addr; /* the region, mapped; multiples of block */
	u64 size, block; /* block: a power of two; at most VIRTIO_MEM_BLOCKS of them */
	u64 wanted; /* bytes to be plugged at the start */
};

/* @d is the transport. @bytes: a multiple of block, at most size. */
void virtio_mem_resize(struct dev *d, u64 bytes);
void virtio_mem_get(struct dev *d, u64 *ret_plugged, u64 *ret_wanted);

struct virtio_vhost_cfg { /* virtio_vhost_*_class */
	struct vhost_user *vu; /* net/vhost_user.h */
	u64 features;	       /* device bits the guest may have, if the back end can do them, */
	u64 own_features;      /* and those that only concern the configuration */
	const void *config;
	u16 config_len;
	unsigned nr_queues;
};

struct virtio_share_cfg { /* virtio_9p_class and virtio_fs_class */
	int dir_fd; /* open directory to share; borrowed */
	const char *tag;
	bool read_only;
};

/* -- for device models ------------------------------------------------------------------- */

#define VIRTIO_F_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_EVENT_IDX     (1ull << 29)
#define VIRTIO_F_VERSION_1     (1ull << 32)
#define VIRTIO_F_RING_PACKED   (1ull << 34)

enum virtio_status { /* [virtio 2.1] */
	VIRTIO_ACKNOWLEDGE = 1,
	VIRTIO_DRIVER = 2,
	VIRTIO_DRIVER_OK = 4,
	VIRTIO_FEATURES_OK = 8,
	VIRTIO_NEEDS_RESET = 64,
	VIRTIO_FAILED = 128,
};

struct virtio_class {
	/*
	 * Name, state and life cycle of the device. init sets nr_queues, the queues'
	 * max_size, offered (device bits only) and config. reset waits for what is in
	 * flight (it may still push) and returns the device's own members to their first
	 * values; the queues are reset after it.
	 */
	struct dev_class dev;
	u16 id;	       /* [virtio 5] device type */
	u32 pci_class; /* 24-bit PCI class code */
	void (*notify)(struct virtio *v, struct virtq *q); /* buffers may be available */
	/* Optional. */
	void (*config_write)(struct virtio *v, unsigned off, unsigned size, u32 val);
	void (*driver_ok)(struct virtio *v); /* features and queues are final */
};

struct virtio_transport {
	void (*queue_irq)(struct virtio *v, unsigned n);
	void (*config_irq)(struct virtio *v);
};

struct virtio {
	struct dev dev;
	const struct virtio_transport *tp;
	struct dev *tp_dev;
	u64 offered, features; /* offered is set by init, completed by the transport */
	u8 status;
	u8 nr_queues;
	u16 config_len;
	u32 config_gen;
	u32 budget;	   /* chains vq_pop() may still take in this notification */
	u32 again;	   /* bit n: queue n ran out of budget, again_timer continues */
	struct timer again_timer;
	u8 config[VIRTIO_CONFIG_MAX];
	struct virtq q[VIRTIO_MAX_QUEUES];
};

/* clang-format off */
#define VIRTIO_FIELDS(S, m) \
	FIELD_NOT_SAVED(S, m.dev), FIELD_NOT_SAVED(S, m.tp), FIELD_NOT_SAVED(S, m.tp_dev), \
	FIELD_NOT_SAVED(S, m.offered), FIELD(S, m.features), FIELD(S, m.status), \
	FIELD_NOT_SAVED(S, m.nr_queues), FIELD_NOT_SAVED(S, m.config_len), \
	FIELD(S, m.config_gen), FIELD_NOT_SAVED(S, m.budget), \
	FIELD_NOT_SAVED(S, m.again), FIELD_NOT_SAVED(S, m.again_timer), \
	FIELD(S, m.config), \
	VIRTQ_FIELDS(S, m.q[0]), VIRTQ_FIELDS(S, m.q[1]), \
	VIRTQ_FIELDS(S, m.q[2]), VIRTQ_FIELDS(S, m.q[3]), \
	VIRTQ_FIELDS(S, m.q[4]), VIRTQ_FIELDS(S, m.q[5]), \
	VIRTQ_FIELDS(S, m.q[6]), VIRTQ_FIELDS(S, m.q[7]), \
	VIRTQ_FIELDS(S, m.q[8]), VIRTQ_FIELDS(S, m.q[9]), \
	VIRTQ_FIELDS(S, m.q[10]), VIRTQ_FIELDS(S, m.q[11]), \
	VIRTQ_FIELDS(S, m.q[12]), VIRTQ_FIELDS(S, m.q[13]), \
	VIRTQ_FIELDS(S, m.q[14]), VIRTQ_FIELDS(S, m.q[15])
/* clang-format on */

static inline const struct virtio_class *virtio_class(const struct virtio *v)
{
	return container_of(v->dev.class, const struct virtio_class, dev);
}

static inline bool virtio_has(const struct virtio *v, u64 feature)
{
	return v->features & feature;
}

/* DRIVER_OK and not broken: queues may be used. */
bool virtio_running(const struct virtio *v);

void virtio_set_queues(struct virtio *v, unsigned nr, unsigned size);
int virtio_loaded(struct dev *d, struct err *e) MUST_CHECK; /* for the class's loaded */
void virtio_config_changed(struct virtio *v); /* config[] was changed by the device */

/* -- for transports ---------------------------------------------------------------------- */

struct dev *virtio_dev_new(const struct virtio_class *c, const void *cfg, const char *id,
			   const struct dev_env *env, const struct virtio_transport *tp,
			   struct dev *tp_dev, struct err *e) MUST_CHECK;
void virtio_dev_free(struct virtio *v); /* NULL is fine */
void virtio_reset(struct virtio *v);
void virtio_pause(struct virtio *v);
void virtio_resume(struct virtio *v); /* also looks at every queue again */
void virtio_set_status(struct virtio *v, u8 status); /* a driver's write */
void virtio_needs_reset(struct virtio *v, const char *what);
void virtio_set_features(struct virtio *v, u32 sel, u32 val);
u32 virtio_config_read(struct virtio *v, u64 off, unsigned size);
void virtio_config_write(struct virtio *v, u64 off, unsigned size, u32 val);
/* Also for a device that can go on after it was held up. */
void virtio_notify(struct virtio *v, u32 n);
/* vq_pop() found no budget left: go on from a timer, so that others get the lock. */
bool virtio_spend(struct virtio *v, unsigned n);

#endif
