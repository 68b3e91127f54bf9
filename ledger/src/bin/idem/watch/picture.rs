//! The picture of a look: namespaces, two curves, and what is not finished.

use std::collections::VecDeque;

use idempotency_ledger::time::ClockState;
use idempotency_ledger::{NamespaceStats, RecordInfo, RecordState, Stats};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};

use super::board::{Board, LOOKS_KEPT};
use crate::duration::in_words;
use crate::speak::printable;

const CURVE_ROWS: u16 = 5;
const NAMESPACES_ROWS_MAX: u16 = 14;

pub(crate) fn draw(frame: &mut Frame<'_>, board: &Board) {
    let Some(stats) = &board.stats else {
        return;
    };
    let wanted = u16::try_from(stats.namespaces.len()).unwrap_or(u16::MAX);
    let namespaces_rows = wanted.clamp(1, NAMESPACES_ROWS_MAX) + 3;
    let [head, namespaces, curves, unfinished, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(namespaces_rows),
        Constraint::Length(CURVE_ROWS),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).areas(curves);
    frame.render_widget(heading(board, stats), head);
    let table = namespace_table(board, stats, namespaces.width);
    frame.render_widget(table, namespaces);
    draw_curve(frame, left, "claims", &board.claims, Color::Cyan);
    draw_curve(frame, right, "replays", &board.replays, Color::Green);
    frame.render_widget(unfinished_table(board, stats), unfinished);
    let help = "q ends it. Replays and refusals appear with the next commit of who answered them.";
    frame.render_widget(Paragraph::new(help).dim(), foot);
}

fn heading(board: &Board, stats: &Stats) -> Paragraph<'static> {
    let mut words = vec![
        Span::from("idem watch ").bold(),
        Span::from(printable(&board.place)),
        Span::from(format!("  {}", stats.now)),
        Span::from(format!("  fence {}", stats.fence)),
    ];
    if let Some(bytes) = stats.file_bytes {
        words.push(Span::from(format!("  {} KiB", bytes / 1024)));
    }
    let warning = match stats.clock {
        ClockState::Agrees => None,
        ClockState::Leapt { by, .. } => Some(format!("  the clock leapt {}", in_words(by))),
        ClockState::Behind { by, .. } => Some(format!("  the clock is {} behind", in_words(by))),
    };
    words.extend(warning.map(|warning| Span::from(warning).yellow()));
    Paragraph::new(Line::from(words))
}

/// What a narrow terminal does without.
const WIDE_COLUMNS: u16 = 110;

/// The counts of a namespace, each with its width and whether a narrow terminal shows it.
const COUNTS: [(&str, u16, Shown); 8] = [
    ("RECORDS", 9, Shown::Always),
    ("CLAIMED", 9, Shown::Always),
    ("EXPIRED", 9, Shown::WhenWide),
    ("REPLAYS", 13, Shown::Always),
    ("REFUSALS", 13, Shown::Always),
    ("INTERRUPTED", 13, Shown::Always),
    ("LATE", 9, Shown::WhenWide),
    ("SWEPT", 13, Shown::WhenWide),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Always,
    WhenWide,
}

fn namespace_table(board: &Board, stats: &Stats, width: u16) -> Table<'static> {
    let fits = |shown| shown == Shown::Always || width >= WIDE_COLUMNS;
    let shown = || COUNTS.iter().filter(move |(_, _, shown)| fits(*shown));
    let heading = [Cell::from("NAMESPACE")]
        .into_iter()
        .chain(shown().map(|(name, _, _)| Cell::from(*name)));
    let widths = [Constraint::Min(12)]
        .into_iter()
        .chain(shown().map(|(_, width, _)| Constraint::Length(*width)));
    let rows = stats.namespaces.iter().map(|names| {
        let name = [Cell::from(printable(&names.name))];
        let counts = count_cells(board, names).into_iter().zip(COUNTS);
        let counts = counts.filter(|(_, (_, _, shown))| fits(*shown));
        Row::new(name.into_iter().chain(counts.map(|(cell, _)| cell)))
    });
    Table::new(rows, widths)
        .header(Row::new(heading).dim())
        .block(Block::new().borders(Borders::TOP).title(" namespaces "))
}

fn count_cells(board: &Board, names: &NamespaceStats) -> [Cell<'static>; 8] {
    let (events, change) = (names.events, board.change(names));
    [
        Cell::from(names.records.to_string()),
        Cell::from(names.claimed.to_string()),
        Cell::from(names.expired.to_string()),
        counted(events.replays, change.replays, Color::Green),
        counted(events.refusals(), change.refusals(), Color::Yellow),
        counted(events.interruptions, change.interruptions, Color::Red),
        counted(events.late, change.late, Color::Red),
        counted(events.swept, change.swept, Color::Blue),
    ]
}

/// A count, and in colour what came since the look before.
fn counted(count: u64, change: u64, color: Color) -> Cell<'static> {
    if change == 0 {
        return Cell::from(count.to_string());
    }
    let more = Span::styled(format!(" +{change}"), Style::new().fg(color).bold());
    Cell::from(Line::from(vec![Span::from(count.to_string()), more]))
}

fn draw_curve(frame: &mut Frame<'_>, area: Rect, what: &str, curve: &VecDeque<u64>, color: Color) {
    let columns = usize::from(area.width).min(LOOKS_KEPT);
    let newest: Vec<u64> = curve.iter().rev().take(columns).rev().copied().collect();
    let last = newest.last().copied().unwrap_or_default();
    let title = format!(" {what}: {last} since the look before ");
    let drawn = Sparkline::default()
        .data(&newest)
        .style(Style::new().fg(color))
        .block(Block::new().borders(Borders::TOP).title(title));
    frame.render_widget(drawn, area);
}

fn unfinished_table(board: &Board, stats: &Stats) -> Table<'static> {
    let heading = ["STATE", "NAMESPACE", "KEY", "FOR", "ATTEMPT", "PROGRAM"];
    let rows = board
        .unfinished
        .iter()
        .map(|info| unfinished_row(info, stats));
    let widths = [
        Constraint::Length(12),
        Constraint::Fill(1),
        Constraint::Fill(2),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let title = if board.is_cut {
        " not finished (the first of them) "
    } else {
        " not finished "
    };
    Table::new(rows, widths)
        .header(Row::new(heading).dim())
        .block(Block::new().borders(Borders::TOP).title(title))
}

fn unfinished_row(info: &RecordInfo, stats: &Stats) -> Row<'static> {
    let shown = match info.state() {
        RecordState::Claimed => Span::from("claimed"),
        RecordState::Interrupted if info.is_overdue() => Span::from("overdue").yellow(),
        RecordState::Interrupted => Span::from("interrupted").red(),
        RecordState::Completed => Span::from("completed"),
    };
    let since = stats.now.saturating_since(info.claimed_at());
    Row::new([
        Cell::from(shown),
        Cell::from(printable(info.namespace())),
        Cell::from(printable(info.key().as_str())),
        Cell::from(in_words(since)),
        Cell::from(info.attempts().to_string()),
        Cell::from(printable(info.program())),
    ])
}

#[cfg(test)]
mod tests {
    use idempotency_ledger::{Fingerprint, Key, Ledger, Namespace};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn screen(board: &Board) -> String {
        let mut terminal = Terminal::new(TestBackend::new(120, 24)).expect("memory");
        terminal.draw(|frame| draw(frame, board)).expect("memory");
        let buffer = terminal.backend().buffer();
        let rows = buffer.content.chunks(120);
        rows.map(|row| {
            row.iter()
                .map(ratatui::buffer::Cell::symbol)
                .collect::<String>()
                + "\n"
        })
        .collect()
    }

    #[test]
    fn a_look_shows_what_came_since_the_one_before() {
        let ledger = Ledger::in_memory().expect("opens");
        let payments = Namespace::new("payments");
        let key = Key::new("order-17").expect("a key");
        let ask = || ledger.operation(payments.clone(), &key, Fingerprint::NONE);
        let run = || {
            ask()
                .run_bytes(|_| Ok::<_, std::io::Error>("ok"))
                .expect("works")
        };
        let mut board = Board::new("shop.redb".to_owned());
        run();
        board.look(&ledger).expect("looks");
        let first = screen(&board);
        assert!(
            first.contains("shop.redb") && first.contains("payments"),
            "{first}"
        );
        assert!(!first.contains('+'), "nothing has changed yet: {first}");
        for _ in 0..3 {
            run();
        }
        let other = Key::new("order-18\u{202e}").expect("a key");
        let request = ledger.operation(payments.clone(), &other, Fingerprint::NONE);
        let held = request.program("shop").begin().expect("works");
        board.look(&ledger).expect("looks");
        let second = screen(&board);
        assert!(second.contains("3 +3"), "replays: {second}");
        assert!(second.contains("claims: 1 since"), "{second}");
        assert!(
            second.contains("claimed") && second.contains(r"order-18\u{202e}"),
            "{second}"
        );
        drop(held);
        board.look(&ledger).expect("looks");
        let third = screen(&board);
        assert!(third.contains("interrupted"), "{third}");
        assert!(board.line().to_string().contains("+0 replays"));
    }
}
