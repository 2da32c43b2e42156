#!/usr/bin/env bash
# What results/gpu holds, on a machine with one GPU: the tests of the real device, every method with
# its controls on digits, and ODN's MNIST row at the published budget.
#
#   DEPTHBENCH_DATA=DATA results/gpu/day.sh OUT [SECONDS]
#
# DATA holds MNIST/raw. After SECONDS what still runs is stopped with a checkpoint; the same command
# goes on from there.
set -u
cd "$(dirname "$0")/../.."
out=$1
end=$((SECONDS + ${2:-86400}))
left() { echo $((end - SECONDS > 1 ? end - SECONDS : 1)); }
mkdir -p "$out"

nvidia-smi --query-gpu=name,driver_version,power.limit,clocks.sm --format=csv | tee "$out/gpu.csv"
if [ ! -e "$out/tests.txt" ]; then
  timeout -s INT "$(left)" python3 -m pytest -q -m gpu -n 6 --dist load -rs > "$out/tests.txt" 2>&1
  tail -n 40 "$out/tests.txt"
fi
timeout -s INT "$(left)" python3 -m benchmarks run results/gpu/digits.yaml --results "$out/digits"
timeout -s INT "$(left)" python3 -m benchmarks reproduce odn --table I --row MNIST --row optimal_depth \
  --profile paper --seeds 2 --results "$out/odn-mnist"
