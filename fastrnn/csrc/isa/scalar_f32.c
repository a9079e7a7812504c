#define REAL_BITS 32
#include "scalar.h"
