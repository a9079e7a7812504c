/* The headers that kernels need. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "compiler.h"
#include "rnn.h"
