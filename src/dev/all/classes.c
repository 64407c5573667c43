// SPDX-License-Identifier: Apache-2.0
/* classes.c - every device model there is; adding one is one line here */
#include "dev/all/all.h"

#include "dev/pc/pc.h"

const struct dev_class *const dev_classes[] = {
	&boot_timer_class,
	&debug_exit_class,
	&debugcon_class,
	&fwcfg_class,
	&hpet_class,
	&i8042_class,
	&ioapic_class,
	&lapic_class,
	&pic8259_class,
	&pit8254_class,
	&pmacpi_class,
	&port92_class,
	&pvpanic_class,
	&rtc146818_class,
	&testdev_class,
	&uart16550_class,
	NULL,
};

size_t dev_print(const struct dev *d, char *buf, size_t len)
{
	return field_print(d->class->state, d, buf, len);
}
