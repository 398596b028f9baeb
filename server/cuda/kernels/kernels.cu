// Every kernel of the CUDA decoder, as one unit.
#include "attention.cuh"
#include "draw.cuh"
#include "layers.cuh"
#include "rope.cuh"
