#!/usr/bin/env bash
# What results/gpu holds, on a machine with one GPU: the tests of the real device, every method with
# its controls on digits, and ODN's MNIST row at the published budget.
#
#   DEPTHBENCH_DATA=DATA results/gpu/day.sh OUT [SECONDS [PART...]]
#
# PART is tests, digits or odn; all three by default. DATA holds MNIST/raw. After SECONDS what still
# runs is stopped with a checkpoint; the same command goes on from there.
set -u
cd "$(dirname "$0")/../.."
out=$1
end=$((SECONDS + ${2:-86400}))
parts=("${@:3}")
((${#parts[@]})) || parts=(tests digits odn)
left() { echo $((end - SECONDS > 1 ? end - SECONDS : 1)); }
mkdir -p "$out"
nvidia-smi --query-gpu=name,driver_version,power.limit,clocks.sm --format=csv | tee "$out/gpu.csv"

for part in "${parts[@]}"; do
  case $part in
    tests)
      timeout -s INT "$(left)" python3 -m pytest -q -m gpu -n 6 -rs 2>&1 | tee "$out/tests.txt" ;;
    digits)
      timeout -s INT "$(left)" python3 -m benchmarks run results/gpu/digits.yaml \
        --results "$out/digits" ;;
    odn)
      timeout -s INT "$(left)" python3 -m benchmarks reproduce odn --table I --row MNIST \
        --row optimal_depth --profile paper --seeds 2 --results "$out/odn-mnist" ;;
    *) echo "no part $part: tests, digits or odn" >&2; exit 2 ;;
  esac
done
