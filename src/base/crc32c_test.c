// SPDX-License-Identifier: Apache-2.0
/* crc32c_test.c - known answers [RFC 3720 B.4] */
#include "base/crc32c.h"
#include "base/test.h"

TEST(crc32c_gives_the_known_answers)
{
	u8 buf[32];

	CHECK_EQ(crc32c(0, "123456789", 9), 0xe3069283);
	memset(buf, 0, sizeof buf);
	CHECK_EQ(crc32c(0, buf, sizeof buf), 0x8a9136aa);
	memset(buf, 0xff, sizeof buf);
	CHECK_EQ(crc32c(0, buf, sizeof buf), 0x62a8ab43);
}

TEST(crc32c_of_parts_is_that_of_the_whole)
{
	u8 buf[100];

	for (unsigned i = 0; i < sizeof buf; i++)
		buf[i] = (u8)(i * 7);
	for (unsigned cut = 0; cut <= sizeof buf; cut++)
		CHECK_EQ(crc32c(crc32c(0, buf, cut), buf + cut, sizeof buf - cut),
			 crc32c(0, buf, sizeof buf));
}
