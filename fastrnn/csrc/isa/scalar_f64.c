#define REAL_BITS 64
#include "scalar.h"
