//! The flags of the commands that look after the edits folder, without a model.

use clap::Args;

use super::{FolderArgs, OutputArgs};

#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    /// The edit, as `list` names it
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) edit_id: Option<String>,
    /// All active edits
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// The edit, as `list` names it
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) edit_id: Option<String>,
    /// All edits, also undone ones, and what interrupted ones left
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
