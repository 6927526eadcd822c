//! What a bootstrap collects for one kind of channel: options, attributes, the closure that fills the pipeline.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::channel::places::Places;
use crate::channel::{AttributeKey, Attributes, ChannelOption, OptionSet, OptionType, Pipeline};
use crate::error::{Error, Failure};

/// Fills the pipeline of each new channel, on the channel's loop.
pub(super) type Initializer = Arc<dyn Fn(&mut Pipeline<'_>) -> Result<(), Failure> + Send + Sync>;

/// See the module's page.
#[derive(Clone, Default)]
pub(super) struct Recipe {
    pub(super) options: OptionSet,
    pub(super) attributes: Attributes,
    pub(super) initializer: Option<Initializer>,
    /// What the pipelines take that it fills.
    pub(super) places: Arc<Places>,
    /// The first setting that was refused; told when the recipe is used.
    pub(super) refused: Option<Error>,
}

impl Recipe {
    pub(super) fn option<T: OptionType>(&mut self, option: ChannelOption<T>, value: T) {
        if let Err(error) = self.options.set(option, value) {
            self.refused.get_or_insert(error);
        }
    }

    pub(super) fn attribute<T: Any + Send + Sync>(&mut self, key: &AttributeKey<T>, value: T) {
        self.attributes.set(key, value);
    }

    pub(super) fn initializer<F, E>(&mut self, fill: F)
    where
        F: Fn(&mut Pipeline<'_>) -> Result<(), E> + Send + Sync + 'static,
        E: Into<Failure>,
    {
        self.initializer = Some(Arc::new(move |pipeline: &mut Pipeline<'_>| {
            fill(pipeline).map_err(Into::into)
        }));
    }

    /// Runs the initializer, if there is one.
    pub(super) fn fill(&self, pipeline: &mut Pipeline<'_>) -> Result<(), Failure> {
        match &self.initializer {
            Some(fill) => fill(pipeline),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipe")
            .field("options", &self.options)
            .field("attributes", &self.attributes)
            .field("places", &self.places)
            .field("has_initializer", &self.initializer.is_some())
            .finish_non_exhaustive()
    }
}
