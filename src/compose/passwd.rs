//! The account files, line by line: lines that are not ours stay as they are, in their order
//! (passwd(5), group(5), shadow(5), gshadow(5)).

/// Lines of colons and fields, of which the first is a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    lines: Vec<String>,
}

impl Table {
    pub(super) fn parse(text: &str) -> Self {
        Table { lines: text.lines().map(str::to_owned).collect() }
    }

    pub(super) fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// Tells whether a line has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// Returns a field of the line with this name; counts from 0.
    pub(super) fn field(&self, name: &str, index: usize) -> Option<&str> {
        self.lines[self.position(name)?].split(':').nth(index)
    }

    /// Returns the id in the third field of the line with this name.
    pub(super) fn id(&self, name: &str) -> Option<u32> {
        self.field(name, 2)?.parse().ok()
    }

    /// Returns the first name whose third field is this id.
    pub(super) fn name_of(&self, id: u32) -> Option<&str> {
        let mut lines = self.lines.iter();
        let line =
            lines.find(|line| line.split(':').nth(2).and_then(|field| field.parse().ok()) == Some(id))?;
        line.split(':').next()
    }

    /// Returns the names of all lines, for messages.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| line.split_once(':')).map(|(name, _)| name)
    }

    /// Puts a line in the place of the one with its name, or behind all others.
    pub(super) fn put(&mut self, name: &str, line: String) {
        match self.position(name) {
            Some(index) => self.lines[index] = line,
            None => self.lines.push(line),
        }
    }

    /// Adds a name to the comma-separated last field, the fourth, of a line.
    pub(super) fn add_member(&mut self, group: &str, member: &str) {
        let Some(index) = self.position(group) else { return };
        let mut fields: Vec<&str> = self.lines[index].split(':').collect();
        fields.resize(4, "");
        let mut members: Vec<&str> = fields[3].split(',').filter(|member| !member.is_empty()).collect();
        if !members.contains(&member) {
            members.push(member);
        }
        let members = members.join(",");
        fields[3] = &members;
        self.lines[index] = fields.join(":");
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.lines.iter().position(|line| line.split(':').next() == Some(name) && line.contains(':'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_lines_stay_as_they_are() {
        let text = "root:x:0:0:root:/root:/bin/bash\n# a remark\n+::::::\nweb:x:33:33::/:/bin/sh\n";
        let mut table = Table::parse(text);
        assert_eq!(table.text(), text);
        assert_eq!((table.id("web"), table.name_of(0), table.id("nobody")), (Some(33), Some("root"), None));
        table.put("web", "web:x:33:33::/srv:/bin/sh".into());
        table.put("app", "app:x:1000:1000::/:/usr/sbin/nologin".into());
        assert_eq!(
            table.text(),
            "root:x:0:0:root:/root:/bin/bash\n# a remark\n+::::::\nweb:x:33:33::/srv:/bin/sh\n\
             app:x:1000:1000::/:/usr/sbin/nologin\n"
        );
    }

    #[test]
    fn members_are_added_once() {
        let mut table = Table::parse("video:x:44:\naudio:x:29:a,b\nshort:x:1\n");
        for group in ["video", "audio", "short", "none"] {
            table.add_member(group, "b");
            table.add_member(group, "c");
        }
        assert_eq!(table.text(), "video:x:44:b,c\naudio:x:29:a,b,c\nshort:x:1:b,c\n");
    }
}
