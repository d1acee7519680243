#include "pattern.h"

#include <stdio.h>

static unsigned char frame[180 * 3];

int main(void) {
    for (unsigned step = 0; step < 256; step++) {
        render_pattern(frame, sizeof frame, step);
        frame[step] ^= palette[step * 2][step];
    }
    printf("%s: first pixel %u %u %u\n", pattern_name, frame[0], frame[1], frame[2]);
    return 0;
}
