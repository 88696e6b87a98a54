// glibc has this variable since 2.32, and libstdc++ counts references without atomics where it is not 0. Here it stands for older ones too.
extern "C" {
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;
}
