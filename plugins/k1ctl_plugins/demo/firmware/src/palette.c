/* A table of the size that a real firmware carries, so that a transfer takes a moment. */
#include "pattern.h"

#define ROW(n) (n), (n) ^ 0x55, (n) * 7 & 0xff, 255 - (n)
#define ROWS(n) ROW(n), ROW((n) + 1), ROW((n) + 2), ROW((n) + 3), ROW((n) + 4), ROW((n) + 5), ROW((n) + 6), ROW((n) + 7)
#define BLOCK ROWS(0), ROWS(8), ROWS(16), ROWS(24), ROWS(32), ROWS(40), ROWS(48), ROWS(56)

const unsigned char palette[512][256] = {[0 ... 511] = {BLOCK}};
