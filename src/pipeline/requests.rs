//! What a plan asks of package archives: one request for each distribution, so that all of its packages
//! are solved as one problem.

use crate::packages::{Request, Root, Rules, SourceRequest};
use crate::recipe::plan::{
    Architecture, ArchivePlan, BarePackagePlan, KernelSource, LoaderSource, PackagesPlan, Part, Plan,
};

/// Lists the requests of a plan, in recipe order.
pub fn requests(plan: &Plan) -> Vec<Request> {
    let mut requests = Vec::new();
    for packages in blocks(plan) {
        add_block(request(&mut requests, &packages.distribution, plan), packages);
    }
    for package in bare(plan) {
        let request = request(&mut requests, &package.distribution, plan);
        add_source(request, &package.archive);
        request.bare.push(package.name.clone());
    }
    requests
}

/// Returns the blocks of packages, in recipe order.
pub fn blocks(plan: &Plan) -> impl Iterator<Item = &PackagesPlan> {
    plan.parts.iter().filter_map(|part| match part {
        Part::Packages(packages) => Some(packages),
        _ => None,
    })
}

/// Returns the packages that only what boots is taken from.
fn bare(plan: &Plan) -> impl Iterator<Item = &BarePackagePlan> {
    let kernel = plan.kernel.as_ref().and_then(|kernel| match &kernel.source {
        KernelSource::Package(package) => Some(package),
        KernelSource::Host { .. } => None,
    });
    let loader = match &plan.boot.loader {
        LoaderSource::Package(package) => Some(package),
        _ => None,
    };
    kernel.into_iter().chain(loader)
}

/// Returns the name that Debian gives the architecture of a plan.
pub fn architecture(plan: &Plan) -> &'static str {
    match plan.image.architecture {
        Architecture::X86_64 => "amd64",
        Architecture::Aarch64 => "arm64",
    }
}

fn request<'a>(requests: &'a mut Vec<Request>, distribution: &str, plan: &Plan) -> &'a mut Request {
    let known = requests.iter().position(|request| request.distribution == distribution);
    let index = known.unwrap_or_else(|| {
        requests.push(Request {
            distribution: distribution.to_owned(),
            architecture: architecture(plan).to_owned(),
            ..Request::default()
        });
        requests.len() - 1
    });
    &mut requests[index]
}

fn add_block(request: &mut Request, block: &PackagesPlan) {
    block.archives.iter().for_each(|archive| add_source(request, archive));
    let roots = block.names.iter();
    request.roots.extend(roots.map(|name| Root {
        name: name.name.clone(),
        version: name.version.clone(),
        suite: None,
    }));
    add_new(&mut request.foreign_architectures, &block.foreign_architectures);
    let Rules { dependencies, essential, recommends, exclude, pins, holds, local } = &mut request.rules;
    // The recipe's check has seen to it that all blocks of a distribution say the same here.
    (*dependencies, *essential, *recommends) = (block.dependencies, block.essential, block.recommends);
    add_new(exclude, &block.exclude);
    add_new(holds, &block.holds);
    add_new(local, &block.files);
    pins.extend(block.pins.iter().map(|(name, version)| (name.clone(), version.clone())));
}

/// Adds a source, or to one that is there the components that it lacks.
fn add_source(request: &mut Request, archive: &ArchivePlan) {
    let ArchivePlan { name, suite, components, mirror, signed_by, priority } = archive;
    let is_same = |source: &&mut SourceRequest| {
        source.suite == *suite && source.mirror == *mirror && source.signed_by == *signed_by
    };
    if let Some(source) = request.sources.iter_mut().find(is_same) {
        add_new(&mut source.components, components);
        return;
    }
    let of_name = request.sources.iter().filter(|source| source.name == *name).count();
    let name = if of_name == 0 { name.clone() } else { format!("{name}.{}", of_name + 1) };
    request.sources.push(SourceRequest {
        name,
        suite: suite.clone(),
        components: components.clone(),
        mirror: mirror.clone(),
        signed_by: signed_by.clone(),
        priority: *priority,
    });
}

fn add_new<T: Clone + PartialEq>(to: &mut Vec<T>, from: &[T]) {
    for one in from {
        if !to.contains(one) {
            to.push(one.clone());
        }
    }
}
