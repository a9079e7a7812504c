/* Plain C, one element at a time: for any compiler and any processor. */
#define ISA scalar
#define VBYTES 0
#define MAX_TILE 6

#include "../kernels.h"
