#pragma once
// The process's metrics, in Prometheus' text format. Names are kr_<component>_<what>_<unit>[_total]; labels are bounded
// (never a digest, peer or repository). A component takes its counters once, at construction, and keeps the reference:
// they live as long as the process. Threads: any; incrementing takes no lock.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace kraken::metrics {

using Labels = std::map<std::string, std::string>;

class Counter {
 public:
  virtual ~Counter() = default;
  virtual void add(double amount = 1) = 0;
  virtual double value() const = 0;
};

class Gauge {
 public:
  virtual ~Gauge() = default;
  virtual void set(double value) = 0;
  virtual void add(double amount) = 0;
  virtual double value() const = 0;
};

class Histogram {
 public:
  virtual ~Histogram() = default;
  virtual void observe(double value) = 0;
};

/// The same name and labels give the same object. `help` of the first call stands.
Counter& counter(const std::string& name, const std::string& help, const Labels& labels = {});
Gauge& gauge(const std::string& name, const std::string& help, const Labels& labels = {});
Histogram& histogram(const std::string& name, const std::string& help, const std::vector<double>& bounds,
                     const Labels& labels = {});

/// Seconds, 1 ms to 60 s.
const std::vector<double>& latency_bounds();

/// Everything, as text format 0.0.4.
std::string scrape();

}  // namespace kraken::metrics
