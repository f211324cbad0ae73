//! The treemap by lines of the recipe: what each file counts under.

use std::collections::BTreeMap;

use mkimage::base::{CommitId, Job};
use mkimage::pipeline::{Explanation, Lines};
use mkimage::store::{Objects, Store};
use mkimage::tree::Node;
use serde_json::Value;

use super::Project;
use crate::tool::succeed;

const RECIPE: &str = r#"image "small" {
  version = "1"
}

packages "debian" {
  suite     = "tested"
  mirror    = "MIRROR"
  signed_by = "archive.gpg"
  names     = ["front", "lone"]
}

app "server" {
  source = "server"
  path   = "/app/server"
  mode   = "0755"
}

tree "pages" {
  source = "pages/"
  path   = "/usr/share/pages"
}

file "/usr/share/middle" {
  content = "not the package's\n"
  replace = true
}

user "www" {
  uid = 80
}
"#;

/// A tree with packages of its own archive, of which one is asked for, one is needed by that, and one by this.
fn project() -> Project {
    let project = Project::new("");
    let mirror = format!("file:{}", project.path("archive").display());
    std::fs::write(project.path("small.hcl"), RECIPE.replace("MIRROR", &mirror)).expect("a recipe");
    std::fs::create_dir(project.path("pages")).expect("a folder");
    std::fs::write(project.path("pages/index"), vec![b'p'; 7000]).expect("a page");
    let packages =
        [("front", "middle", 1000), ("middle", "base", 2000), ("base", "", 4000), ("lone", "", 500)];
    crate::packages::lay_archive(project.folder.path(), &packages);
    succeed(&mut project.run(&["compose", "small.hcl"]));
    project
}

/// Returns the treemap of a report by lines of the recipe.
fn treemap(project: &Project) -> Value {
    succeed(&mut project.run(&["report", "small", "-o", "page.html"]));
    let page = std::fs::read_to_string(project.path("page.html")).expect("a page");
    let start = page.find("{\"").expect("data");
    let data = serde_json::Deserializer::from_str(&page[start..]).into_iter::<Value>().next();
    let data = data.expect("data").expect("JSON");
    let views = data["sizes"].as_array().expect("views");
    views.iter().find(|view| view["label"] == "By recipe").expect("the view")["root"].clone()
}

/// Returns the bytes below a node, by the names of the nodes below it.
fn children(node: &Value) -> BTreeMap<String, u64> {
    let children = node[3].as_array().expect("children").iter();
    children
        .map(|child| (child[0].as_str().expect("a name").to_owned(), child[1].as_u64().expect("bytes")))
        .collect()
}

fn child<'a>(node: &'a Value, name: &str) -> &'a Value {
    let found = node[3].as_array().expect("children").iter().find(|child| child[0] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {:?}", children(node)))
}

#[test]
fn what_a_package_brings_counts_under_the_line_that_wants_it() {
    let project = project();
    let root = treemap(&project);
    let lines = children(&root);
    assert_eq!(lines[r#"tree "pages" (small.hcl:18)"#], 7000);
    assert_eq!(lines[r#"app "server" (small.hcl:12)"#], 21);
    assert_eq!(lines[r#"file "/usr/share/middle" (small.hcl:23)"#], 18, "the recipe's wins");
    assert!(lines[r#"user "www" (small.hcl:28)"#] > 0, "{lines:?}");
    assert!(lines.contains_key(r#"image "small" (small.hcl:1)"#), "what every image has: {lines:?}");
    let packages = child(&root, r#"packages "debian" (small.hcl:5)"#);
    let below = children(packages);
    assert_eq!((below["for front"], below["lone"]), (5000, 500), "{below:?}");
    assert!(below["made when they were finished"] > 0, "the packages' own database: {below:?}");
    assert_eq!(
        children(child(packages, "for front")),
        BTreeMap::from([("front".into(), 1000), ("base".into(), 4000)])
    );
    assert_eq!(root[1], lines.values().sum::<u64>(), "every byte counts once: {lines:?}");
    let unknown: Vec<&String> = lines.keys().filter(|line| !line.contains("(small.hcl:")).collect();
    assert!(unknown.is_empty(), "each line is one of the recipe: {unknown:?}");
}

#[test]
fn the_treemap_and_why_agree_on_every_file() {
    let project = project();
    let said: Value =
        serde_json::from_str(&succeed(&mut project.run(&["show", "small", "--json"]))).expect("JSON");
    let id: CommitId = said["commit"].as_str().expect("an id").parse().expect("an id");
    let store = Store::open(project.path("store")).expect("opened");
    let (commit, job) = (store.read_commit(&id).expect("read"), Job::quiet(1));
    let tree = store.read_tree(&job, &commit.tree).expect("read");
    let explanation = Explanation::of_commit(&commit, tree.clone(), &store, &job).expect("known");
    let lines = Lines::of(&explanation);
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for (path, node) in tree.paths() {
        let Node::File(file) = node else { continue };
        let brought = explanation.brought(&path);
        let names = lines.of_path(&path);
        assert_eq!(names.first(), brought.part.map(|part| part.to_string()).as_ref(), "{path}");
        if let Some((package, _)) = &brought.package {
            assert_eq!(names.last(), Some(package), "{path}");
        }
        *sums.entry(names[0].clone()).or_default() += file.content.size;
    }
    assert_eq!(children(&treemap(&project)), sums);
}
