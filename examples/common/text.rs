//! The tokenizer, and rows of tokens from sentences.

use std::collections::HashMap;

use super::corpus::sentence::{Sentence, Word};
use super::corpus::states::STATES;
use super::corpus::{self, Case, Prompt};
use anyhow::{Result, anyhow, bail, ensure};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::sequence::Sequence;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

use super::gpt2::Batch;

/// Stands before every text.
pub const BOS: &str = "<|bos|>";

/// More entries than the corpus has merges for: training ends when every word is one token.
const ENOUGH: usize = 8192;

/// Sentences the tokenizer is trained on.
const SENTENCES: usize = 20_000;

/// Trains the byte-level BPE tokenizer on the corpus fixed by `seed`.
pub fn train_tokenizer(seed: u64) -> Result<Tokenizer> {
    let said = corpus::sentences(seed).take(SENTENCES).map(|sentence| sentence.text());
    let words = corpus::induction::words().iter().cloned();
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(ENOUGH)
        .min_frequency(0)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(BOS, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
        .into();
    let mut tokenizer = Tokenizer::new(BPE::default());
    let bytes = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(bytes)).with_decoder(Some(bytes));
    let texts: Vec<String> = said.chain(words).collect();
    let trained = tokenizer.train(&mut trainer, texts.iter());
    trained.map_err(|error| anyhow!("training the tokenizer: {error}"))?;
    let bos = tokenizer.token_to_id(BOS).ok_or_else(|| anyhow!("{BOS} is not in the vocabulary"))?;
    let template = TemplateProcessing::builder()
        .try_single(format!("{BOS} $A"))
        .and_then(|builder| builder.try_pair(format!("{BOS} $A {BOS} $B:1")))
        .map_err(|error| anyhow!("post-processor: {error}"))?
        .special_tokens(vec![(BOS, bos)])
        .build()?;
    let processors = vec![ByteLevel::new(true, false, true).into(), template.into()];
    tokenizer.with_post_processor(Some(Sequence::new(processors)));
    Ok(tokenizer)
}

/// Where the city stands in a row.
fn city(case: &Case) -> Option<usize> {
    let words = &case.stem.words;
    words.iter().position(|word| word.labels.iter().any(|label| label.concept == "city")).map(|word| word + 1)
}

/// Turns sentences into token ids, word by word.
pub struct Encoder {
    tokenizer: Tokenizer,
    known: HashMap<String, Vec<u32>>,
    bos: u32,
}

impl Encoder {
    /// Takes a tokenizer that has [`BOS`].
    pub fn new(tokenizer: Tokenizer) -> Result<Self> {
        let bos = tokenizer.token_to_id(BOS).ok_or_else(|| anyhow!("{BOS} is not in the vocabulary"))?;
        Ok(Self { tokenizer, known: HashMap::new(), bos })
    }

    /// Ids of the sentence after BOS, and what predicting each counts: 1 where it is settled, `other` elsewhere.
    pub fn row(&mut self, sentence: &Sentence, other: f32) -> Result<(Vec<u32>, Vec<f32>)> {
        let (mut ids, mut weights) = (vec![self.bos], vec![0.0]);
        for word in &sentence.words {
            let random = word.labels.iter().any(|label| label.concept == "copy");
            let weight = match (word.determined, random) {
                (true, _) => 1.0,
                (false, false) => other,
                // Words of random lists: there is nothing to learn.
                (false, true) => 0.0,
            };
            for &id in self.word(word)? {
                ids.push(id);
                weights.push(weight);
            }
        }
        Ok((ids, weights))
    }

    /// The words of a sentence that are about a state: their positions after BOS and the state's number.
    pub fn states(&mut self, sentence: &Sentence) -> Result<Vec<(usize, usize)>> {
        let (mut at, mut found) = (1, Vec::new());
        for word in &sentence.words {
            let label = word.labels.iter().find(|label| label.concept == "state");
            let state = label.and_then(|label| STATES.iter().position(|state| state.name == label.value));
            for _ in self.word(word)? {
                found.extend(state.map(|state| (at, state)));
                at += 1;
            }
        }
        Ok(found)
    }

    /// Adds two rows about different cities, the first of which gets the state neurons of the second one's city: then
    /// the answer has to be the second one's. Interchange intervention training (Geiger et al., 2022).
    pub fn interchange(&mut self, prompt: &Prompt, batch: &mut Batch) -> Result<()> {
        let (Some(here), Some(there)) = (city(&prompt.case), city(&prompt.twin)) else {
            bail!("{:?} names no city", prompt.case.text());
        };
        let answer = self.single(&prompt.twin.answers[0])?;
        let mut starts = [0; 2];
        for (case, start) in [&prompt.case, &prompt.twin].into_iter().zip(&mut starts) {
            *start = batch.ids.len();
            let start = *start;
            batch.states.extend(self.states(&case.stem)?.into_iter().map(|(at, state)| (start + at, state)));
            let (mut ids, mut weights) = self.row(&case.stem, 0.0)?;
            ids.push(answer);
            weights.push(1.0);
            batch.push(&ids, &weights);
        }
        batch.swaps.push((starts[0] + here, starts[1] + there));
        Ok(())
    }

    /// Adds a row about a city whose state neurons are silenced: then nothing says which state, so the answer is that of any other.
    pub fn silence(&mut self, prompt: &Prompt, batch: &mut Batch) -> Result<()> {
        let Some(here) = city(&prompt.case) else {
            bail!("{:?} names no city", prompt.case.text());
        };
        let start = batch.ids.len();
        let (mut ids, mut weights) = self.row(&prompt.case.stem, 0.0)?;
        ids.push(self.single(&prompt.twin.answers[0])?);
        weights.push(1.0);
        batch.push(&ids, &weights);
        batch.silenced.push(start + here);
        Ok(())
    }

    /// The one token of a word.
    pub fn single(&mut self, text: &str) -> Result<u32> {
        let ids = self.ids(text)?;
        ensure!(ids.len() == 1, "{text:?} is {} tokens, not one", ids.len());
        Ok(ids[0])
    }

    fn word(&mut self, word: &Word) -> Result<&[u32]> {
        self.ids(&word.text)
    }

    fn ids(&mut self, text: &str) -> Result<&[u32]> {
        if !self.known.contains_key(text) {
            let encoding = self.tokenizer.encode(text, false).map_err(|error| anyhow!("{text:?}: {error}"))?;
            self.known.insert(text.to_owned(), encoding.get_ids().to_vec());
        }
        Ok(&self.known[text])
    }
}
