#include "pattern.h"

const char pattern_name[] = "idle";

void render_pattern(unsigned char *frame, size_t size, unsigned step) {
    for (size_t i = 0; i < size; i++) {
        frame[i] = (unsigned char)(step + i);
    }
}
