//! How lists are told to people: aligned columns, and how long something is ago.

/// A column for each word of the head, as wide as what stands in it. An empty cell is a dash.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&word| word.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head)
        .chain(rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()))
        .collect();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let line = |row: &Vec<String>| {
        let padded: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What somebody named cannot look like a line of ours.
fn cell(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// How long ago something was.
pub(crate) fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_breaks_a_line() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["i-1", "größer", "x"]), row(["i-22", "", "two\nlines"])];
        let wanted = "ID    NAME    WHY\ni-1   größer  x\ni-22  -       two\\nlines";
        assert_eq!(table(&["ID", "NAME", "WHY"], &rows), wanted);
        assert_eq!(table(&["ID", "NAME"], &rows[..1]), "ID   NAME\ni-1  größer");
        assert_eq!(table(&["ID", "NAME", "WHY"], &[]), "ID  NAME  WHY");
    }

    #[test]
    fn times_are_short() {
        let times = [
            (0, "0 s ago"),
            (59, "59 s ago"),
            (185, "3 min ago"),
            (3600, "1 h ago"),
            (172_799, "47 h ago"),
            (172_800, "2 days ago"),
        ];
        for (seconds, wanted) in times {
            assert_eq!(ago(seconds), wanted);
        }
    }
}
