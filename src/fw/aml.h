// SPDX-License-Identifier: Apache-2.0
/*
 * aml.h - writes ACPI Machine Language
 *
 * Follows ACPI 6.4 chapters 6.4 (resource descriptors) and 20.2 (grammar) as
 * [ACPI]. Terms that contain others are opened with aml_*_begin() and closed with
 * aml_end(); they nest up to AML_DEPTH. Running out of room or depth sets .failed
 * and drops output: check it once at the end.
 */
#ifndef FW_AML_H
#define FW_AML_H

#include "base/compiler.h"
#include "base/types.h"

#define AML_DEPTH      12
#define AML_SERIALIZED 8 /* in a method's nr_args */

struct aml {
	u8 *buf; /* caller's */
	size_t cap, len;
	size_t open[AML_DEPTH]; /* where each open term's PkgLength is */
	unsigned depth;
	bool failed;
};

/* -- terms: path is "PCI0", "\\_SB" or "\\_SB.PCI0", segments of up to four letters -- */

void aml_scope_begin(struct aml *a, const char *path);
void aml_device_begin(struct aml *a, const char *name);
void aml_method_begin(struct aml *a, const char *name, unsigned nr_args);
void aml_package_begin(struct aml *a, unsigned nr_elements);
void aml_end(struct aml *a);

void aml_name(struct aml *a, const char *name); /* Name(name, <the object that follows>) */
void aml_int(struct aml *a, u64 v);
void aml_str(struct aml *a, const char *s);
void aml_eisaid(struct aml *a, const char *id); /* "PNP0A03" as an integer */
void aml_return(struct aml *a);                 /* Return(<what follows>) */
void aml_arg(struct aml *a, unsigned n);
void aml_notify(struct aml *a, const char *path, u8 code);

/* -- resource templates: a buffer, between aml_crs_begin() and aml_crs_end() --- */

void aml_crs_begin(struct aml *a);
void aml_crs_end(struct aml *a);
void aml_crs_io(struct aml *a, u16 base, u8 len);
void aml_crs_irq(struct aml *a, unsigned irq); /* ISA: edge, active high */
void aml_crs_gsi(struct aml *a, u32 gsi, bool edge); /* active high; shared if a level */
void aml_crs_mem32(struct aml *a, u32 base, u32 len);
void aml_crs_bus(struct aml *a, u16 first, u16 last);
void aml_crs_io_window(struct aml *a, u16 first, u16 last);
void aml_crs_mem32_window(struct aml *a, u32 first, u32 last);
void aml_crs_mem64_window(struct aml *a, u64 first, u64 last);

#endif
