/*
 * Two areas of a flash, emulated: bits can only be cleared, an area is erased as a whole, and the power gives out after so
 * many bytes. A firmware has its driver here: four functions, of which `sync` may be missing.
 */
#include <string.h>

enum { POWER_IS_GONE = -5, WRITTEN_TWICE = -6, NO_WHOLE_WORDS = -7 };
#ifndef FLASH_AREA
#define FLASH_AREA 4096
#endif

struct flash {
    uint8_t bytes[2][FLASH_AREA];
    long power; /* bytes that can still be written or erased */
};

static int32_t flash_read(void *context, uint32_t area, uint32_t at, uint8_t *into, size_t len) {
    struct flash *flash = context;
    return memcpy(into, flash->bytes[area] + at, len), 0;
}

static int32_t flash_write(void *context, uint32_t area, uint32_t at, const uint8_t *bytes, size_t len) {
    struct flash *flash = context;
    if (at % 4 != 0 || len % 4 != 0) return NO_WHOLE_WORDS;
    for (size_t i = 0; i < len; i++) {
        if (flash->power-- <= 0) return POWER_IS_GONE;
        if (flash->bytes[area][at + i] != 0xff) return WRITTEN_TWICE;
        flash->bytes[area][at + i] &= bytes[i];
    }
    return 0;
}

static int32_t flash_erase(void *context, uint32_t area) {
    struct flash *flash = context;
    for (size_t i = 0; i < FLASH_AREA; i++) {
        if (flash->power-- <= 0) return POWER_IS_GONE;
        flash->bytes[area][i] = 0xff;
    }
    return 0;
}

/* As it comes from the factory. */
static mobiedit_flash flash_new(struct flash *flash) {
    memset(flash->bytes, 0xff, sizeof flash->bytes);
    flash->power = 1000000000;
    return (mobiedit_flash){.abi = MOBIEDIT_ABI, .area_len = FLASH_AREA, .context = flash,
                            .read = flash_read, .write = flash_write, .erase = flash_erase};
}
