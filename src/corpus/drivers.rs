//! What starts the workers of a sweep where machines are: files for the engines that people have. There is no scheduler of our own.

use super::plan::Plan;
use crate::files;
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// The drivers by their names.
const DRIVERS: [(&str, &str); 4] = [
    ("local.sh", include_str!("drivers/local.sh")),
    ("slurm.sbatch", include_str!("drivers/slurm.sbatch")),
    ("ray.py", include_str!("drivers/ray.py")),
    ("datatrove.py", include_str!("drivers/datatrove.py")),
];

/// Workers at most: Slurm's arrays end at 1001 tasks unless a site says otherwise, and a worker that has many shards opens the model once.
const MOST_WORKERS: usize = 1000;

/// Writes the drivers of a plan into its folder; those that are there are kept, somebody may have fitted them.
///
/// # Errors
/// They cannot be written, or a path has a character that stands for something in shells or Python.
pub fn write(plan: &Plan, folder: &Path, program: &Path) -> Result<()> {
    let text = |path: &Path| -> Result<String> {
        let path = std::path::absolute(path).with_context(|| format!("{}", path.display()))?;
        let text = path.to_str().with_context(|| format!("{}: accepted: a path in UTF-8", path.display()))?;
        let strange = text.chars().find(|c| "'\"\\$`%@".contains(*c) || c.is_control());
        ensure!(
            strange.is_none(),
            "{text}: drivers cannot name a path with {:?}; accepted: a folder without quotes, backslashes, $, `, % and @",
            strange.unwrap_or_default()
        );
        Ok(text.to_owned())
    };
    let (dir, program) = (text(folder)?, text(program)?);
    let workers = plan.shards.len().min(MOST_WORKERS);
    let place = folder.join("drivers");
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    for (name, template) in DRIVERS {
        let driver = template
            .replace("@DIR@", &dir)
            .replace("@PROGRAM@", &program)
            .replace("@WORKERS@", &workers.to_string())
            .replace("@LAST_WORKER@", &(workers - 1).to_string());
        let path = place.join(name);
        if !path.exists() {
            files::replace(&path, |to| Ok(to.write_all(driver.as_bytes())?))?;
            executable(&path)?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let named = || format!("cannot make {} executable", path.display());
    let mode = std::fs::metadata(path).with_context(named)?.permissions().mode();
    let may_read = mode & 0o444;
    // Whoever may read it may run it.
    let permissions = std::fs::Permissions::from_mode(mode | may_read >> 2);
    std::fs::set_permissions(path, permissions).with_context(named)
}

#[cfg(not(unix))]
fn executable(_: &Path) -> Result<()> {
    Ok(())
}
