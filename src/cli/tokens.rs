//! `mobiedit tokens`: an edit's prompts as token ids, for firmware that has no tokenizer. Searches nothing.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;

use anyhow::{Context, ensure};
use mobiedit::core::ForwardBackend;
use mobiedit::core::problem::{Problem, Role};
use mobiedit::host::prompts::{EditPrompts, EditRequest, TokenPrompt};
use mobiedit::host::session::{Session, with_session};
use mobiedit::host::statistics::prefixes;
use serde_json::json;

use crate::cli::Status;
use crate::cli::args::{TokensArgs, TokensFormat};
use crate::cli::report::Stdout;

pub(crate) fn run(args: &TokensArgs) -> anyhow::Result<Status> {
    let first = args.name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    let rest = args.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    ensure!(first && rest, "--name has to be a name in C: small letters, digits and _");
    with_session(&args.model.options(), |session| tokens(args, session))
}

fn tokens(args: &TokensArgs, session: &mut Session<'_>) -> anyhow::Result<Status> {
    let request =
        EditRequest { prompt: args.prompt.clone(), subject: args.subject.clone(), target: args.target.clone() };
    let prefixes: Vec<&str> = prefixes().take(usize::from(args.prefixes)).collect();
    let prompts = EditPrompts::new(&session.tokenizer, &request, &prefixes)?;
    let spec = session.transformer.spec();
    let layer = args.layer.of(spec.layers)?;
    Problem::new(&spec, layer, &prompts.lend(), &prompts.target)?;
    let text = session.tokenizer.encode(&prompts.text)?.ids;
    let of = Written { args, prompts: &prompts, layer, text: &text };
    let written = match args.format {
        TokensFormat::C => of.c(),
        TokensFormat::Rust => of.rust(),
        TokensFormat::Json => of.json(),
    };
    match &args.out {
        Some(path) => fs::write(path, written).with_context(|| format!("{} cannot be written", path.display()))?,
        None => Stdout.write_all(written.as_bytes())?,
    }
    Ok(Status::Done)
}

/// What is written.
struct Written<'w> {
    args: &'w TokensArgs,
    prompts: &'w EditPrompts,
    layer: usize,
    /// The prompt as a user would type it, for generation.
    text: &'w [u32],
}

impl Written<'_> {
    fn about(&self) -> String {
        let (text, target) = (&self.prompts.text, self.args.target.trim());
        let rows = self.prompts.rows();
        format!("{text:?} -> {target:?}; {rows} rows at once at least. Made by `mobiedit tokens`.")
    }

    fn c(&self) -> String {
        let (name, mut out) = (&self.args.name, format!("/* {} */\n", self.about().replace("*/", "* /")));
        let mut array = |suffix: &str, ids: &[u32]| {
            let _ = writeln!(out, "static const uint32_t {name}_{suffix}[] = {{{}}};", listed(ids));
        };
        array("text", self.text);
        array("target", &self.prompts.target);
        for (index, prompt) in self.prompts.prompts.iter().enumerate() {
            array(&format!("tokens{index}"), &prompt.tokens);
        }
        let _ = writeln!(out, "static const mobiedit_prompt {name}_prompts[] = {{");
        for (index, prompt) in self.prompts.prompts.iter().enumerate() {
            let role = if prompt.role == Role::Rewrite { "MOBIEDIT_REWRITE" } else { "MOBIEDIT_ESSENCE" };
            let (len, last) = (prompt.tokens.len(), prompt.subject_last);
            let _ = writeln!(out, "    {{{name}_tokens{index}, {len}, {last}, {role}}},");
        }
        let (count, target) = (self.prompts.prompts.len(), self.prompts.target.len());
        let (layer, seed) = (self.layer, self.args.seed);
        let _ = writeln!(out, "}};\nstatic const mobiedit_problem {name} = {{");
        let _ = writeln!(out, "    {name}_prompts, {count}, {name}_target, {target}, {layer}, {seed}\n}};");
        out
    }

    fn rust(&self) -> String {
        let name = self.args.name.to_uppercase();
        let mut out = format!("//! {}\n\nuse mobiedit_core::problem::{{Prompt, Role}};\n\n", self.about());
        let (layer, seed) = (self.layer.to_string(), self.args.seed.to_string());
        for (about, suffix, of, value) in [
            (
                "The prompt as a user would type it, for generation.",
                "TEXT",
                "&[u32]",
                format!("&[{}]", listed(self.text)),
            ),
            ("The target's tokens.", "TARGET", "&[u32]", format!("&[{}]", listed(&self.prompts.target))),
            ("The edit layer, from 0.", "LAYER", "usize", layer),
            ("Seed of the search.", "SEED", "u64", seed),
        ] {
            let _ = writeln!(out, "/// {about}\npub const {name}_{suffix}: {of} = {value};");
        }
        let _ = writeln!(out, "/// The rewrite prompts, then the essence prompts.");
        let _ = writeln!(out, "pub const {name}_PROMPTS: &[Prompt<'static>] = &[");
        for TokenPrompt { tokens, subject_last, role } in &self.prompts.prompts {
            let ids = listed(tokens);
            let _ =
                writeln!(out, "    Prompt {{ tokens: &[{ids}], subject_last: {subject_last}, role: Role::{role:?} }},");
        }
        out + "];\n"
    }

    fn json(&self) -> String {
        let prompt = |prompt: &TokenPrompt| {
            let role = if prompt.role == Role::Rewrite { "rewrite" } else { "essence" };
            json!({ "tokens": prompt.tokens, "subject_last": prompt.subject_last, "role": role })
        };
        let all: Vec<_> = self.prompts.prompts.iter().map(prompt).collect();
        let (text, target) = (self.text, &self.prompts.target);
        let rows = self.prompts.rows();
        json!({ "text": text, "target": target, "layer": self.layer, "seed": self.args.seed, "rows": rows, "prompts": all })
            .to_string()
            + "\n"
    }
}

fn listed(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}
