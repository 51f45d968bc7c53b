//! From a name to a whole snapshot: list, choose, ask, fetch, and the reference last.

use super::choose::{self, Weights};
use super::client::Client;
use super::listing::{File, Listing};
use super::local::{self, Kind};
use super::name::{Name, is_path};
use super::store::{self, Store};
use super::sum::Sum;
use super::transfer::Wanted;
use super::{Consent, DownloadPlan, DownloadProgress};
use crate::model::checkpoint::shards;
use crate::model::dictionary;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;

/// The files of one repository that are needed.
struct Part {
    store: Store,
    name: Name,
    listing: Listing,
    files: Vec<(File, u64, Sum)>,
}

/// Fetches what is missing.
///
/// # Errors
/// As [`super::obtain_model`].
pub(super) fn obtain(name: &Name, kind: Kind, consent: Consent, progress: DownloadProgress) -> Result<()> {
    let client = Client::new()?;
    let mut part = Part::new(&client, name.clone())?;
    let parts = match kind {
        Kind::Model => {
            part.choose_model(&client)?;
            vec![part]
        }
        Kind::Dictionary => part.choose_dictionary(&client)?,
    };
    let mut plan =
        DownloadPlan { name: name.to_string(), endpoint: client.access.endpoint.clone(), files: 0, bytes: 0 };
    for part in &parts {
        for (_, size, sum) in part.missing() {
            let here = std::fs::metadata(part.store.partial(sum)).map_or(0, |m| m.len());
            plan.files += 1;
            plan.bytes += size.saturating_sub(here);
        }
    }
    if plan.files > 0 {
        consent(&plan)?;
        room(&parts, &plan)?;
    }
    let (mut before, total) = (0, parts.iter().flat_map(Part::missing).map(|(_, size, _)| size).sum());
    for part in &parts {
        for (file, size, sum) in part.missing() {
            let wanted = part.wanted(&client, file, *size, sum);
            wanted.fetch(&client, &mut |here| progress(before + here, total))?;
            before += size;
        }
        for (file, _, sum) in &part.files {
            part.store.link(&part.listing.commit, &file.path, sum)?;
        }
    }
    // The one that was asked for stands first, and is whole only with the others.
    for part in parts.iter().rev() {
        part.store.set_ref(&part.name.revision, &part.listing.commit)?;
    }
    Ok(())
}

/// # Errors
/// The disk of the cache has less room than is needed.
fn room(parts: &[Part], plan: &DownloadPlan) -> Result<()> {
    let Some(part) = parts.first() else { return Ok(()) };
    let cache = part.store.cache();
    let free = store::free(cache).unwrap_or(u64::MAX);
    ensure!(
        free >= plan.bytes,
        "{}: {} MB are to be fetched, but the disk of {} has {} MB left; HF_HUB_CACHE names another folder",
        plan.name,
        plan.bytes.div_ceil(1_000_000),
        cache.display(),
        free / 1_000_000
    );
    Ok(())
}

impl Part {
    fn new(client: &Client, name: Name) -> Result<Self> {
        let store = Store::new(local::cache()?, &name.repository);
        let listing = Listing::read(client, &name)?;
        Ok(Part { store, name, listing, files: Vec::new() })
    }

    fn missing(&self) -> impl Iterator<Item = &(File, u64, Sum)> {
        self.files.iter().filter(|(_, size, sum)| !self.store.has(sum, *size))
    }

    fn add(&mut self, client: &Client, path: &str) -> Result<()> {
        let file =
            self.listing.get(path).with_context(|| format!("{} has no file {path:?}", self.name.spec()))?.clone();
        let (size, sum) = self.listing.facts(client, &file)?;
        self.files.push((file, size, sum));
        Ok(())
    }

    fn wanted<'a>(&'a self, client: &Client, file: &File, size: u64, sum: &Sum) -> Wanted<'a> {
        let (name, url) = (format!("{}/{}", self.listing.repository, file.path), self.listing.url(client, &file.path));
        Wanted { name, url, size, sum: sum.clone(), store: &self.store }
    }

    /// Fetches a small file before anything is asked, since it says what else is needed.
    fn small(&mut self, client: &Client, path: &str) -> Result<()> {
        self.add(client, path)?;
        let Some((file, size, sum)) = self.files.last() else { return Ok(()) };
        if !self.store.has(sum, *size) {
            self.wanted(client, file, *size, sum).fetch(client, &mut |_| Ok(()))?;
        }
        self.store.link(&self.listing.commit, path, sum)
    }

    fn choose_model(&mut self, client: &Client) -> Result<()> {
        let weights = choose::weights(&self.listing, &self.name)?;
        for file in choose::beside(&self.listing, &weights).into_iter().cloned().collect::<Vec<_>>() {
            self.add(client, &file.path)?;
        }
        let files = match weights {
            Weights::One(file) => vec![file],
            Weights::Parts(files) => files,
            Weights::Index => {
                self.small(client, choose::INDEX)?;
                let index = self.store.snapshot(&self.listing.commit).join(choose::INDEX);
                let index = std::fs::read(&index).with_context(|| index.display().to_string())?;
                let files = shards(Path::new(""), &index).with_context(|| self.name.to_string())?;
                files.iter().map(|f| f.display().to_string()).collect()
            }
        };
        files.iter().try_for_each(|file| self.add(client, file))
    }

    /// A dictionary's config may list files of other repositories: those are parts of their own.
    fn choose_dictionary(mut self, client: &Client) -> Result<Vec<Part>> {
        let chosen = choose::dictionary(&self.listing, &self.name)?;
        let paths = |files: Vec<&File>| files.into_iter().map(|f| f.path.clone()).collect::<Vec<_>>();
        let (configs, tensors) = (paths(chosen.configs), paths(chosen.tensors));
        for config in &configs {
            self.small(client, config)?;
        }
        let folder = self.store.snapshot(&self.listing.commit).join(self.name.path.as_deref().unwrap_or(""));
        let Some(listed) = dictionary::listed(&folder)? else {
            tensors.iter().try_for_each(|file| self.add(client, file))?;
            return Ok(vec![self]);
        };
        let mut others: BTreeMap<Name, Vec<String>> = BTreeMap::new();
        for file in listed {
            if file.starts_with("hf://") {
                let (repository, path) = dictionary::address(&file)?;
                let name = Name::parse(&repository).filter(|_| is_path(&path));
                let name = name.with_context(|| format!("{}: {file:?} names no file of the hub", self.name))?;
                others.entry(name).or_default().push(path);
            } else {
                let inside = self.name.path.as_ref().map_or(file.clone(), |folder| format!("{folder}/{file}"));
                self.add(client, inside.trim_start_matches("./"))?;
            }
        }
        let mut parts = vec![self];
        for (name, files) in others {
            let mut part = Part::new(client, name)?;
            files.iter().try_for_each(|file| part.add(client, file))?;
            parts.push(part);
        }
        Ok(parts)
    }
}
