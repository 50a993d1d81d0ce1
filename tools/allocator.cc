// jemalloc, for the whole process: a request's memory is allocated on a connection's loop and freed by the group loop, the log's
// writer or the applier, which costs glibc's allocator a lock and a walk each time (docs/performance.md has the figures).

/// Read by jemalloc before main (jemalloc(3), "TUNING"); the environment's MALLOC_CONF goes on top. Pages that are not used are given
/// back after a minute, not ten seconds: load that comes and goes must not fault them in again each time.
extern "C" {
extern const char* const malloc_conf;
const char* const malloc_conf = "dirty_decay_ms:60000,muzzy_decay_ms:0";
}
