//! `idem completions` and `idem man`: made from the same definitions as the parser and `--help`.

use std::io::{self, Write};

use clap::CommandFactory;

use crate::arguments::{Arguments, CompletionsArguments, ManArguments};
use crate::exit::{Exit, Failure};

/// `idem completions SHELL`.
pub(crate) fn completions(arguments: &CompletionsArguments) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    let mut command = Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "idem", &mut script);
    print(&script)
}

/// `idem man`: one page, or a folder with a page for each command.
pub(crate) fn man(arguments: &ManArguments) -> Result<Exit, Failure> {
    let mut command = Arguments::command();
    // The names of the pages of the commands, as people look for them: idem-exec.
    command.build();
    let Some(folder) = &arguments.dir else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command).render(&mut page);
        rendered.map_err(|error| Failure::storage(error.to_string()))?;
        return print(&page);
    };
    clap_mangen::generate_to(command, folder)
        .map_err(|error| Failure::storage(format!("{}: {error}", folder.display())))?;
    Ok(Exit::Success)
}

/// A reader that goes away is no failure.
fn print(bytes: &[u8]) -> Result<Exit, Failure> {
    match io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::storage(format!(
            "standard output cannot be written: {error}"
        ))),
        Ok(()) | Err(_) => Ok(Exit::Success),
    }
}
