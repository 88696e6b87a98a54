// The CPU backend's own threads. Work is cut by shape alone, never by the number of threads, so that results do not depend on it.
#pragma once
#include <cstdint>
#include <functional>

namespace vantage::cpu {

// Calls body(i) once for each i in [0, tasks), on the pool's threads and the calling one, in no fixed order, and returns when all are done.
// The first exception is thrown again here. Runs on the calling thread alone where tasks is 1, where the pool has one thread, or
// where the call comes from inside a task. `cost` is the work of all tasks in roughly elements touched: little work stays on the calling thread.
void parallel_for(int64_t tasks, int64_t cost, const std::function<void(int64_t)>& body);

// Inside a task: waits until a task before it, which is done or under way as they are taken in order, has set a flag (with release).
void wait_for(const uint32_t& flag);

// The number of threads, the calling one included. Default: VANTAGE_NUM_THREADS, or the cores this process may use.
int threads();
void set_threads(int count);

}  // namespace vantage::cpu
