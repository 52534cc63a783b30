//! How varied a text is: ROME's n-gram entropy. Generates nothing.

use std::collections::BTreeMap;

/// Entropy of a text's 2-grams and 3-grams in bits, with weights 2/3 and 4/3, their mean, × 100 as in the tables of ROME and
/// MobiEdit: `compute_n_gram_entropy` in ROME's `experiments/py/eval_utils_counterfact.py`. Low where a text repeats
/// itself; a text of fewer than n words has none.
///
/// ROME takes NLTK's words. Ours are a simpler rule: letters and digits in a row are a word, and so is every other character
/// that is no white space. So "isn't" has three words where NLTK has two.
pub fn n_gram_entropy(text: &str) -> f64 {
    let words = words(text);
    100.0 * (2.0 / 3.0 * entropy(&words, 2) + 4.0 / 3.0 * entropy(&words, 3)) / 2.0
}

fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let of_word = |c: char| !c.is_alphanumeric();
        let end = if first.is_alphanumeric() { rest.find(of_word).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (word, behind) = rest.split_at(end);
        words.push(word);
        rest = behind.trim_start();
    }
    words
}

/// Bits per n-gram. Summed in the n-grams' order, so that it has the same bits each time.
fn entropy(words: &[&str], n: usize) -> f64 {
    let mut counts: BTreeMap<&[&str], u32> = BTreeMap::new();
    for n_gram in words.windows(n) {
        *counts.entry(n_gram).or_default() += 1;
    }
    let all = words.windows(n).len() as f64;
    counts.values().map(|&count| f64::from(count) / all).map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::n_gram_entropy;

    /// Numbers of a Python script with ROME's formula, and `re.findall(r"[^\W_]+|[^\w\s]|_", text)` for the words.
    #[test]
    fn entropies_are_those_of_romes_formula() {
        for (text, expected) in [
            ("The capital of France is Paris. The capital of France is Rome.", 308.4993368066263),
            ("It isn't here; it's in Côte d'Ivoire, isn't it?", 405.1676326105504),
            ("a b a b a c a b", 211.52097759842513),
            ("no no no no no no", 0.0),
            ("one", 0.0),
            ("", 0.0),
        ] {
            let entropy = n_gram_entropy(text);
            assert!((entropy - expected).abs() < 1e-9, "{text:?}: {entropy}, not {expected}");
        }
    }
}
