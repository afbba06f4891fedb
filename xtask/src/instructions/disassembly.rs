//! Counts of the inner loops of AVX-512, in what `objdump -dC` shows of the example.
//!
//! A loop is what lies between a jump backwards and its target; an inner one has no other inside. Of a kernel's inner loops
//! that hold its instruction, the one that spends the fewest instructions on each is counted: others are for what is left
//! over. Look-up finds eight weights of a plane in each byte of `vpermi2b`, and `vpdpbusd` multiplies 64 weights.

use super::{output, record::Count};
use anyhow::{Result, ensure};
use std::{path::Path, process::Command};

/// Formats whose packed kernels are counted: those that callgrind counts.
const PACKED: [&str; 4] = ["q4_0", "q4_k", "q6_k", "q8_0"];

/// Bits whose kernel of groups is counted.
const GROUPS: [&str; 2] = ["5", "8"];

pub(super) fn counts(example: &Path) -> Result<Vec<Count>> {
    let (text, _) = output(Command::new("objdump").args(["-dC", "--no-show-raw-insn"]).arg(example))?;
    let mut counts: Vec<Count> = functions(&text)
        .iter()
        .filter_map(|function| {
            let packed = || packed(function).or_else(|| groups(function));
            look_up(function).or_else(packed).or_else(|| expanded(function))
        })
        .collect();
    counts.sort_by(|a, b| (&a.kernel, &a.weights).cmp(&(&b.kernel, &b.weights)));
    ensure!(
        counts.len() == 9 + PACKED.len() + GROUPS.len() + 1,
        "{} of the kernels were found: {counts:?}",
        counts.len()
    );
    Ok(counts)
}

/// The look-up kernel of one token and as many panels as are taken at a time.
fn look_up(function: &Function<'_>) -> Option<Count> {
    let numbers = parameters(function.symbol, "lowbit_kernels::lut::avx512::panels")?;
    let numbers: Vec<usize> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    let [planes, bytes, panels, tokens] = numbers[..] else { return None };
    let most = if (planes, bytes) == (1, 1) { 8 } else { 4 };
    let (length, found) = function.inner_loop("vpermi2b").filter(|_| (panels, tokens) == (most, 1))?;
    Some(Count {
        level: "avx512",
        kernel: format!("lut-int{}-loop", 8 * bytes),
        weights: format!("{planes} planes {panels} panels"),
        per_weight: length as f64 / (found * 64 * 8) as f64 * (planes * bytes) as f64,
    })
}

/// The kernel that multiplies expanded planes, of six tokens; all have one loop.
fn expanded(function: &Function<'_>) -> Option<Count> {
    let ["4", "1", _, "6"] = parameters(function.symbol, "lowbit_kernels::lut::expand_avx512::tokens")?[..]
    else {
        return None;
    };
    let (length, found) = function.inner_loop("vpdpbusd")?;
    Some(Count {
        level: "avx512",
        kernel: "planes-expand-int8-loop".to_owned(),
        weights: "6 tokens".to_owned(),
        per_weight: length as f64 / (found * 64) as f64,
    })
}

/// The packed kernel of one token.
fn packed(function: &Function<'_>) -> Option<Count> {
    let [codec, "1"] = parameters(function.symbol, "lowbit_kernels::packed::avx512::dot")?[..] else {
        return None;
    };
    let format = codec.strip_prefix("lowbit_format::block::")?.split(':').next()?;
    let (length, found) = function.inner_loop("vpdpbusd").filter(|_| PACKED.contains(&format))?;
    Some(Count {
        level: "avx512",
        kernel: "packed-int8-loop".to_owned(),
        weights: format.to_owned(),
        per_weight: length as f64 / (found * 64) as f64,
    })
}

/// The kernels of groups: of one token and four panels, and of six rows and two panels.
fn groups(function: &Function<'_>) -> Option<Count> {
    let few = parameters(function.symbol, "lowbit_kernels::groups::avx512::dot");
    let (kernel, weights) = match few.as_deref() {
        Some([bits, "4", "1"]) if GROUPS.contains(bits) => {
            ("groups-int8-loop", format!("{bits} bits 4 panels"))
        }
        Some(_) => return None,
        None => {
            let path = "<lowbit_kernels::groups::avx512::Part<2>>::rows";
            let ["6", "false"] = parameters(function.symbol, path)?[..] else { return None };
            ("groups-expand-int8-loop", "6 tokens".to_owned())
        }
    };
    let (length, found) = function.inner_loop("vpdpbusd")?;
    let (level, per_weight) = ("avx512", length as f64 / (found * 64) as f64);
    Some(Count { level, kernel: kernel.to_owned(), weights, per_weight })
}

/// What a function of that path is for: its generic parameters.
fn parameters<'a>(symbol: &'a str, path: &str) -> Option<Vec<&'a str>> {
    Some(symbol.strip_prefix(path)?.strip_prefix("::<")?.strip_suffix('>')?.split(", ").collect())
}

/// A function's instructions.
struct Function<'a> {
    symbol: &'a str,
    code: Vec<Instruction<'a>>,
}

struct Instruction<'a> {
    address: u64,
    name: &'a str,
    /// Where a jump goes.
    target: Option<u64>,
}

impl Function<'_> {
    /// Length of the inner loop that spends the fewest instructions on each of `name`, and how many of them it has.
    fn inner_loop(&self, name: &str) -> Option<(usize, usize)> {
        let index = |address: u64| self.code.binary_search_by_key(&address, |i| i.address).ok();
        let backwards = |(end, jump): (usize, &Instruction<'_>)| {
            let start = index(jump.target?)?;
            (start <= end).then_some((start, end))
        };
        let loops: Vec<(usize, usize)> = self.code.iter().enumerate().filter_map(backwards).collect();
        let inner = loops.iter().filter(|(start, end)| {
            !loops.iter().any(|other| other != &(*start, *end) && other.0 >= *start && other.1 <= *end)
        });
        inner
            .map(|(start, end)| {
                let body = &self.code[*start..=*end];
                (body.len(), body.iter().filter(|i| i.name == name).count())
            })
            .filter(|(_, found)| *found > 0)
            .min_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)))
    }
}

/// Cuts what objdump shows into functions.
fn functions(text: &str) -> Vec<Function<'_>> {
    let mut functions = Vec::new();
    for line in text.lines() {
        if let Some((_, symbol)) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
            functions.push(Function { symbol, code: Vec::new() });
        } else if let (Some(function), Some((address, rest))) = (functions.last_mut(), line.split_once(":\t"))
        {
            let Ok(address) = u64::from_str_radix(address.trim(), 16) else { continue };
            let mut words = rest.split_whitespace();
            let Some(name) = words.next() else { continue };
            let operand = words.next().filter(|_| name.starts_with('j'));
            let target = operand.and_then(|operand| u64::from_str_radix(operand, 16).ok());
            function.code.push(Instruction { address, name, target });
        }
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_loops_are_found_and_measured() {
        let text = "\
0000000000001000 <lowbit_kernels::lut::avx512::panels::<2, 1, 4, 1>>:
    1000:\txor    %eax,%eax
    1002:\tvpermi2b %zmm1,%zmm2,%zmm3
    1008:\tvpermi2b %zmm1,%zmm2,%zmm4
    100e:\tadd    $0x1,%eax
    1011:\tjne    1002 <x+0x2>
    1013:\tjmp    1000 <x>
    1018:\tret
";
        let functions = functions(text);
        assert_eq!(functions[0].inner_loop("vpermi2b"), Some((4, 2)));
        assert_eq!(functions[0].inner_loop("vpdpbusd"), None);
        let count = look_up(&functions[0]).unwrap();
        // Two planes of 512 weights, one found after the other, by four instructions.
        assert_eq!((count.per_weight, count.kernel.as_str()), (4.0 / 512.0, "lut-int8-loop"));
        assert_eq!(parameters("a::b::<c::D, 31>", "a::b"), Some(vec!["c::D", "31"]));
        assert_eq!(parameters("a::b::<31>::{closure#0}", "a::b"), None);
    }
}
