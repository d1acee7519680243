#ifndef PATTERN_H
#define PATTERN_H

#include <stddef.h>

extern const unsigned char palette[512][256];
extern const char pattern_name[];
void render_pattern(unsigned char *frame, size_t size, unsigned step);

#endif
