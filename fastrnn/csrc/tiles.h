/* The sizes of register tiles, largest first; MAX_TILE belongs to the ISA's number of registers. */
#if MAX_TILE == 8
#define TILE_ROWS 8
#include "tile.h"
#else
#define TILE_ROWS 6
#include "tile.h"
#endif
#define TILE_ROWS 4
#include "tile.h"
#define TILE_ROWS 2
#include "tile.h"
#define TILE_ROWS 1
#include "tile.h"
