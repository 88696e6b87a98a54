// Fused programs against the reference, on awkward shapes, strides and types, on every device.
#include "test.h"

int main(int argc, char** argv) { return test::run_tests(argc, argv); }
