#!/bin/sh
# lowbit beside llama.cpp on a model of random weights, which needs no download: blocks of Llama-2-7B's shape, so that
# decoding leaves the cache. llama.cpp reads its own type of as many bits a weight or more, lowbit its own format.
#
#   synthetic.sh FOLDER [PAIRS [OPTIONS OF compare]]     e.g.  synthetic.sh /tmp/synthetic "4 ternary" -p 512 -n 32 -r 5
#
# Files that are in FOLDER stay as they are. LOWBIT is the program that makes them, LAYERS their blocks; the files of all pairs
# take 7 GB with 8 blocks.
set -eu

folder=${1:?a folder for the files, such as /tmp/synthetic}
pairs=${2:-4 3 2 ternary 1}
shift "$(($# < 2 ? $# : 2))"
peers=$(dirname "$0")/target/release/peers
lowbit=${LOWBIT:-$(dirname "$0")/../../target/release/lowbit}
mkdir -p "$folder"

# Makes the file of a format, where it is not there yet.
make() {
    [ -f "$folder/$1" ] || "$lowbit" synth --like llama-2-7b --layers "${LAYERS:-8}" --format "${1%.*}" --out "$folder/$1"
}

# compare OURS PEERS...: every file of llama.cpp with and without repacking, then ours.
compare() {
    ours=$1
    shift
    make "$ours"
    engines=
    for theirs in "$@"; do
        make "$theirs"
        engines="${engines}llama.cpp=$folder/$theirs,llama.cpp-no-repack=$folder/$theirs,"
    done
    # shellcheck disable=SC2086 # options are words
    "$peers" compare "$folder/$ours" --engines "${engines}lowbit-int8" $options
}

options=${*:--t 1,2 -p 512 -n 32 -r 5}
for pair in $pairs; do
    case $pair in
        4) compare int4-sym-g128.lowbit q4_0.gguf q4_k.gguf ;;
        3) compare int3-sym-g128.lowbit q3_k.gguf ;;
        2) compare int2-sym-g128.lowbit q2_k.gguf ;;
        ternary) compare ternary-g160.lowbit tq2_0.gguf tq1_0.gguf ;;
        1) compare int1-sym-g128.lowbit q1_0.gguf ;;
        *) echo "no pair is called $pair; there are 4, 3, 2, ternary, 1" >&2; exit 2 ;;
    esac
done
